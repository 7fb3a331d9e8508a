// Knative's own validator: reads a Service of Knative as JSON, sets its defaults and says what is wrong with it. Arguments are
// entries of Knative's ConfigMap config-features, key=value.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"knative.dev/pkg/apis"
	autoscaler "knative.dev/serving/pkg/autoscaler/config"
	"knative.dev/serving/pkg/apis/config"
	v1 "knative.dev/serving/pkg/apis/serving/v1"
)

func main() {
	if err := validate(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func validate(entries []string) error {
	features := map[string]string{}
	for _, entry := range entries {
		key, value, _ := strings.Cut(entry, "=")
		features[key] = value
	}
	var settings config.Config
	var err error
	if settings.Features, err = config.NewFeaturesConfigFromMap(features); err != nil {
		return err
	}
	if settings.Defaults, err = config.NewDefaultsConfigFromMap(map[string]string{}); err != nil {
		return err
	}
	if settings.Autoscaler, err = autoscaler.NewConfigFromMap(map[string]string{}); err != nil {
		return err
	}
	var service v1.Service
	if err := json.NewDecoder(os.Stdin).Decode(&service); err != nil {
		return err
	}
	ctx := apis.WithinCreate(config.ToContext(context.Background(), &settings))
	service.SetDefaults(ctx)
	// Warnings go back to the caller; errors alone refuse a Service.
	if refused := service.Validate(ctx).Filter(apis.ErrorLevel); refused != nil {
		return refused
	}
	return nil
}
