from devcluster.compile_plan import BASE, IMPORT, CompilePlan, CompileProgress, parse_listing

STD = "runtime\t\t/go/runtime\ta.go,b.go\t\tunsafe\n"
"""A package of the standard library; `unsafe` is not compiled."""
SHARED = "example.org/shared\tv1.0.0\t/mod/shared\ts.go\tc.go\truntime\n"


def list_main(name: str, *imports: str) -> str:
    return f"example.org/{name}\t\t/{name}\tmain.go\t\t{','.join(imports)}\n"


def plan(recipe: str, *lines: str) -> CompilePlan:
    return parse_listing(recipe, "".join(lines), lambda file: 1000 * len(file.rpartition("/")[2]))


FIRST = (STD, SHARED, list_main("first", "runtime", "example.org/shared"))
SECOND = (STD, SHARED, list_main("second", "example.org/shared"))


def test_a_package_weighs_its_files_and_imports() -> None:
    weights = {package.path: package.weight for package in plan("first", *FIRST).packages}
    assert weights == {
        "runtime": BASE + 8000,
        "example.org/shared": BASE + IMPORT + 8000,
        "example.org/first": BASE + 2 * IMPORT + 7000,
    }


def test_packages_are_the_same_if_their_versions_and_dependencies_are() -> None:
    first, second = plan("first", *FIRST), plan("second", *SECOND)
    newer = plan("newer", STD, SHARED.replace("v1.0.0", "v1.1.0"), list_main("second", "example.org/shared"))
    assert [one.identity for one in first.packages[:2]] == [one.identity for one in second.packages[:2]]
    assert newer.packages[0].identity == second.packages[0].identity
    assert newer.packages[1].identity != second.packages[1].identity
    assert newer.packages[2].identity != second.packages[2].identity


def test_the_total_counts_shared_packages_once_and_is_known_with_the_last_plan() -> None:
    progress = CompileProgress(began=0, expected=2)
    progress.add_plan(plan("first", *FIRST))
    assert progress.describe(1) == "0 packages compiled, fetching modules"
    progress.add_plan(plan("second", *SECOND))
    assert progress.describe(1) == "0 of 4 packages compiled"


def test_a_named_package_has_all_its_dependencies_done_whoever_compiled_them() -> None:
    progress = CompileProgress(began=0, expected=1)
    progress.add_plan(plan("first", *FIRST))
    assert progress.start_package("first", "runtime")
    assert progress.describe(1) == "0 of 3 packages compiled"
    # Nothing is named between the two: the shared package was in the cache.
    assert progress.start_package("first", "example.org/first")
    assert progress.describe(1) == "2 of 3 packages compiled"
    assert not progress.start_package("first", "# example.org/first")
    progress.finish("first")
    assert progress.describe(1) == "3 of 3 packages compiled"


def test_the_estimate_follows_from_what_this_run_has_compiled() -> None:
    progress = CompileProgress(began=100, expected=1)
    one = plan("first", *FIRST)
    progress.add_plan(one)
    progress.start_package("first", "runtime")
    progress.start_package("first", "example.org/shared")
    assert progress.estimate(101) is None
    done, total = one.packages[0].weight, one.weight * 1.01
    left = progress.estimate(400)
    assert left is not None
    assert abs(left - 300 * (total - done) / done) < 1
    assert progress.describe(400).endswith("compiled, about 13 min left")


def test_packages_of_an_earlier_run_do_not_make_this_one_look_faster() -> None:
    progress = CompileProgress(began=0, expected=1)
    progress.add_plan(plan("first", *FIRST))
    progress.start_package("first", "example.org/first")
    assert progress.describe(60) == "2 of 3 packages compiled"
    assert progress.estimate(60) is None


def test_a_recipe_ends_when_hardly_a_package_is_left_to_begin() -> None:
    progress = CompileProgress(began=0, expected=1)
    progress.add_plan(plan("first", *FIRST))
    assert not progress.recipes["first"].is_ending
    progress.start_package("first", "example.org/shared")
    assert not progress.recipes["first"].is_ending
    progress.start_package("first", "example.org/first")
    assert progress.recipes["first"].is_ending
    assert progress.describe(30).startswith("2 of 3 packages compiled")
