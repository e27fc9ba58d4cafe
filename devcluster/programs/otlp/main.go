// Reads an OTLP/HTTP request in JSON with the collector's own parser, and prints what it found as one JSON document.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"

	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
)

type span struct {
	Trace, ID, Parent, Name, Status, Message string
	Begin, End                               int64
	Attributes                               map[string]any
}

type document struct {
	Resource map[string]any
	Spans    []span
}

func main() {
	body, err := io.ReadAll(os.Stdin)
	request := ptraceotlp.NewExportRequest()
	if err == nil {
		err = request.UnmarshalJSON(body)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	found := document{Resource: map[string]any{}}
	resources := request.Traces().ResourceSpans()
	for i := range resources.Len() {
		resource := resources.At(i)
		for key, value := range resource.Resource().Attributes().AsRaw() {
			found.Resource[key] = value
		}
		for j := range resource.ScopeSpans().Len() {
			spans := resource.ScopeSpans().At(j).Spans()
			for k := range spans.Len() {
				one := spans.At(k)
				found.Spans = append(found.Spans, span{
					Trace: one.TraceID().String(), ID: one.SpanID().String(), Parent: one.ParentSpanID().String(),
					Name: one.Name(), Status: one.Status().Code().String(), Message: one.Status().Message(),
					Begin: int64(one.StartTimestamp()), End: int64(one.EndTimestamp()), Attributes: one.Attributes().AsRaw(),
				})
			}
		}
	}
	_ = json.NewEncoder(os.Stdout).Encode(found)
}
