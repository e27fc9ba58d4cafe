// Command fsutil prints what buildx would send of a folder.
//
// Standard input holds one question per line, {"root", "include", "exclude", "follow"}; standard output one answer per
// line, {"entries": [...]} or {"error": "..."}. Paths and other bytes are base64, since they need not be UTF-8.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"io/fs"
	"os"

	"github.com/tonistiigi/fsutil"
	"github.com/tonistiigi/fsutil/types"
)

type question struct {
	Root    []byte
	Include [][]byte
	Exclude [][]byte
	Follow  [][]byte
}

type answer struct {
	Entries [][]byte `json:"entries"`
	Error   string   `json:"error,omitempty"`
}

func main() {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<20)
	out := json.NewEncoder(os.Stdout)
	for lines.Scan() {
		var q question
		if err := json.Unmarshal(lines.Bytes(), &q); err != nil {
			panic(err)
		}
		entries, err := walk(q)
		a := answer{Entries: entries}
		if err != nil {
			a.Error = err.Error()
		}
		if err := out.Encode(a); err != nil {
			panic(err)
		}
	}
	if err := lines.Err(); err != nil {
		panic(err)
	}
}

// walk stacks the same layers as buildx does: the folder, owners zeroed, the daemon's patterns, hardlinks mended.
func walk(q question) ([][]byte, error) {
	tree, err := fsutil.NewFS(string(q.Root))
	if err != nil {
		return nil, err
	}
	tree, err = fsutil.NewFilterFS(tree, &fsutil.FilterOpt{Map: func(_ string, stat *types.Stat) fsutil.MapResult {
		stat.Uid, stat.Gid = 0, 0
		return fsutil.MapResultKeep
	}})
	if err != nil {
		return nil, err
	}
	tree, err = fsutil.NewFilterFS(tree, &fsutil.FilterOpt{
		IncludePatterns: texts(q.Include),
		ExcludePatterns: texts(q.Exclude),
		FollowPaths:     texts(q.Follow),
	})
	if err != nil {
		return nil, err
	}
	var entries [][]byte
	err = fsutil.WithHardlinkReset(tree).Walk(context.Background(), "/", func(_ string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		stat, err := info.Sys().(*types.Stat).Marshal()
		entries = append(entries, stat)
		return err
	})
	return entries, err
}

func texts(list [][]byte) []string {
	if list == nil {
		return nil
	}
	result := make([]string, len(list))
	for i, item := range list {
		result[i] = string(item)
	}
	return result
}
