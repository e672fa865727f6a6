package integration

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"

	tidegatev1 "github.com/tidegate/tidegate/proto/tidegate/v1"
)

// TestPathsInDocs: docs/reference/rest.md lists the paths of the mapping, and its JSON is a request.
func TestPathsInDocs(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile("../proto/tidegate/v1/rest.yaml")
	if err != nil {
		t.Fatal(err)
	}
	page := pages(t)["../docs/reference/rest.md"]
	var got, want []string
	for _, m := range regexp.MustCompile("(?m)^\\| `(\\w+\\.\\w+)` \\| `(\\S+) (\\S+)` \\|$").FindAllStringSubmatch(page, -1) {
		got = append(got, m[1]+" "+strings.ToLower(m[2])+" "+m[3])
	}
	for _, m := range regexp.MustCompile(`selector: tidegate\.v1\.(\S+), (get|post): "([^"]+)"`).FindAllStringSubmatch(string(data), -1) {
		want = append(want, m[1]+" "+m[2]+" "+m[3])
	}
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" || len(want) == 0 {
		t.Errorf("paths in rest.yaml and in rest.md (-want +got):\n%s", diff)
	}
	examples := 0
	for _, b := range blocks("rest.md", page) {
		if b.lang == "json" && strings.Contains(b.text, "request_id") {
			examples++
			if err := protojson.Unmarshal([]byte(b.text), &tidegatev1.StartRequest{}); err != nil {
				t.Errorf("line %d: %v", b.line, err)
			}
		}
	}
	if examples == 0 {
		t.Error("rest.md has no example of a request")
	}
}
