"""Tags, labels and annotations from a commit's facts, by docker/metadata-action's rules. Pure.

The rules are those of docker/metadata-action 6.2.0 (``src/tag.ts``, ``src/meta.ts``, ``src/flavor.ts``), and the tests
use its test vectors. One difference: values of expressions are not escaped for HTML.
"""
