"""Tags, labels and annotations from what a CI system tells of the commit, by docker/metadata-action's rules. Pure.

The rules are those of docker/metadata-action 6.2.0 (``src/tag.ts``, ``src/meta.ts``, ``src/flavor.ts``), its own test
vectors are ours. One thing differs: values of expressions are not escaped for HTML.
"""
