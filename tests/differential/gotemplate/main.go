// Evaluates templates with Go's text/template. Each line of standard input is a question, each line of output its
// answer: the text, or the error.
package main

import (
	"bufio"
	"encoding/json"
	"os"
	"strings"
	"text/template"
	"time"
)

type Platform struct {
	Architecture string `json:"architecture"`
	OS           string `json:"os"`
	Variant      string `json:"variant,omitempty"`
}

type Entry struct {
	Digest      string            `json:"digest"`
	Size        int64             `json:"size"`
	Annotations map[string]string `json:"annotations,omitempty"`
	Platform    *Platform         `json:"platform,omitempty"`
}

type Sample struct {
	Created *time.Time `json:"created,omitempty"`
	Author  string     `json:"author,omitempty"`
	Platform
	Env     []string            `json:"Env,omitempty"`
	Size    int64               `json:"size"`
	Ratio   float64             `json:"ratio"`
	Big     bool                `json:"big,omitempty"`
	Ports   map[string]struct{} `json:"ports,omitempty"`
	Data    []byte              `json:"data,omitempty"`
	Labels  map[string]string   `json:"labels"`
	Any     any                 `json:"any"`
	Entries []Entry             `json:"entries"`
	First   *Entry              `json:"first,omitempty"`
	None    *Entry              `json:"none"`
	Empty   []string            `json:"empty"`
}

type question struct {
	Template string          `json:"template"`
	Document json.RawMessage `json:"document"`
}

var functions = template.FuncMap{
	"json": func(value any) (string, error) {
		text, err := json.MarshalIndent(value, "", "  ")
		return string(text), err
	},
	"split": strings.Split,
	"join":  strings.Join,
	"lower": strings.ToLower,
	"upper": strings.ToUpper,
	"title": strings.Title, //nolint:staticcheck // docker's tools use it
}

func evaluate(asked question) (string, error) {
	var sample Sample
	if err := json.Unmarshal(asked.Document, &sample); err != nil {
		return "", err
	}
	parsed, err := template.New("").Funcs(functions).Parse(asked.Template)
	if err != nil {
		return "", err
	}
	var text strings.Builder
	err = parsed.Execute(&text, sample)
	return text.String(), err
}

func main() {
	questions := bufio.NewScanner(os.Stdin)
	questions.Buffer(nil, 1<<24)
	answers := json.NewEncoder(os.Stdout)
	for questions.Scan() {
		var asked question
		if err := json.Unmarshal(questions.Bytes(), &asked); err != nil {
			panic(err)
		}
		text, err := evaluate(asked)
		answer := map[string]string{"text": text}
		if err != nil {
			answer = map[string]string{"error": err.Error()}
		}
		if err := answers.Encode(answer); err != nil {
			panic(err)
		}
	}
}
