package packaging

import (
	"os"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// TestWorkflow holds GitHub's workflow to what .ci/run and the Makefile do: it
// has no steps of its own.
func TestWorkflow(t *testing.T) {
	data, err := os.ReadFile("../.github/workflows/ci.yml")
	if err != nil {
		t.Fatal(err)
	}
	var workflow struct {
		Jobs map[string]struct {
			Steps []struct {
				Uses string
				With map[string]any
				Run  string
			}
		}
	}
	if err := yaml.Unmarshal(data, &workflow); err != nil {
		t.Fatal(err)
	}
	for job, want := range map[string]string{"test": ".ci/run", "release": "make release"} {
		steps := workflow.Jobs[job].Steps
		if len(steps) == 0 || steps[0].With["fetch-depth"] != 0 {
			t.Errorf("job %s does not fetch the tags that versions come from", job)
		}
		var runs []string
		for _, s := range steps {
			runs = append(runs, s.Run)
		}
		if !strings.Contains(strings.Join(runs, "\n"), want) {
			t.Errorf("job %s does not run %s", job, want)
		}
	}
	script, err := os.ReadFile("../.ci/run")
	if err != nil {
		t.Fatal(err)
	}
	for _, target := range []string{"make test", "make demo"} {
		if !strings.Contains(string(script), target) {
			t.Errorf(".ci/run does not run %s", target)
		}
	}
}
