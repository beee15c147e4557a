"""From manifests to the graph of targets: names in tags, targets, links, groups, selectors."""
