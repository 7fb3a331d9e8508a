// How tools of GitOps judge an object: reads {"lua": script, "object": object} as JSON, and writes what Argo CD's runner of Lua and
// Flux's kstatus say of it, {"argo": status, "argoMessage": …, "flux": status, "fluxMessage": …}.
package main

import (
	"encoding/json"
	"fmt"
	"os"

	argo "github.com/argoproj/argo-cd/v3/util/lua"
	flux "github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

type question struct {
	Lua    string         `json:"lua"`
	Object map[string]any `json:"object"`
}

type judgement struct {
	Argo        string `json:"argo"`
	ArgoMessage string `json:"argoMessage"`
	Flux        string `json:"flux"`
	FluxMessage string `json:"fluxMessage"`
}

func main() {
	if err := judge(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func judge() error {
	var asked question
	if err := json.NewDecoder(os.Stdin).Decode(&asked); err != nil {
		return err
	}
	object := &unstructured.Unstructured{Object: asked.Object}
	health, err := argo.VM{}.ExecuteHealthLua(object, asked.Lua)
	if err != nil {
		return err
	}
	result, err := flux.Compute(object)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(judgement{
		Argo:        string(health.Status),
		ArgoMessage: health.Message,
		Flux:        result.Status.String(),
		FluxMessage: result.Message,
	})
}
