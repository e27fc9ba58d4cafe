"""Ways from here to buildkitd in a pod, behind one seam."""
