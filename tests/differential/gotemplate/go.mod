module kube-builder/tests/differential/gotemplate

go 1.26
