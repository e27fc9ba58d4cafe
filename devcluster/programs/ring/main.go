// hashring says which pod docker buildx's kubernetes driver would choose for a key.
//
// It reads {"pods": [[name, …], …], "keys": [key, …]} and writes, for each set of pods, the place of each key's pod in
// the sorted set. It makes the ring as buildx does (v0.38.2, driver/kubernetes/podchooser/podchooser.go).
package main

import (
	"encoding/json"
	"log"
	"os"
	"sort"

	"github.com/serialx/hashring"
)

type question struct {
	Pods [][]string `json:"pods"`
	Keys []string   `json:"keys"`
}

func choices(pods, keys []string) []int {
	sorted := append([]string(nil), pods...)
	sort.Strings(sorted)
	places := make(map[string]int, len(sorted))
	for place, pod := range sorted {
		places[pod] = place
	}
	ring := hashring.New(sorted)
	chosen := make([]int, len(keys))
	for number, key := range keys {
		pod, _ := ring.GetNode(key)
		chosen[number] = places[pod]
	}
	return chosen
}

func main() {
	var asked question
	if err := json.NewDecoder(os.Stdin).Decode(&asked); err != nil {
		log.Fatalf("hashring: %v", err)
	}
	answer := make([][]int, len(asked.Pods))
	for number, pods := range asked.Pods {
		answer[number] = choices(pods, asked.Keys)
	}
	if err := json.NewEncoder(os.Stdout).Encode(answer); err != nil {
		log.Fatalf("hashring: %v", err)
	}
}
