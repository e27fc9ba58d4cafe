module kube-builder/devcluster/ring

go 1.26

require github.com/serialx/hashring v0.0.0-20200727003509-22c0c7ab6b1b

require github.com/stretchr/testify v1.12.1 // indirect
