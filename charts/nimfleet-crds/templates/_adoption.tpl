{{/*
Definitions that another release or kubectl made, NVIDIA's NIM Operator for example, are taken over only when that is asked
for, and only where no stored object can lose a field by it. Without a cluster (helm template) nothing is looked up.
*/}}
{{- define "nimfleet.check.adoption" -}}
{{- $foreign := list -}}
{{- $unknown := list -}}
{{- $old := "" -}}
{{- range $path, $bytes := .Files.Glob "crds-generated/*.yaml" -}}
{{- $names := regexFind "(?m)^  name: \\S+" ($bytes | toString) -}}
{{- $name := trimPrefix "  name: " $names -}}
{{- $live := lookup "apiextensions.k8s.io/v1" "CustomResourceDefinition" "" $name -}}
{{- if $live -}}
{{- $owner := dig "metadata" "annotations" "meta.helm.sh/release-name" "" $live -}}
{{- if ne $owner $.Release.Name -}}
{{- $foreign = append $foreign (ternary $name (printf "%s (release %s)" $name $owner) (eq $owner "")) -}}
{{- $ours := $bytes | toString | fromYaml -}}
{{- range $version := $live.spec.versions -}}
{{- $same := dict -}}
{{- range $ours.spec.versions -}}{{- if eq .name $version.name -}}{{- $same = . -}}{{- end -}}{{- end -}}
{{- if not $same -}}
{{- if has $version.name (default list (dig "status" "storedVersions" list $live)) -}}
{{- $unknown = append $unknown (printf "%s: version %s" $name $version.name) -}}
{{- end -}}
{{- else -}}
{{- $theirs := dig "schema" "openAPIV3Schema" "properties" "spec" dict $version -}}
{{- if and (eq $name "nimservices.apps.nvidia.com") (not (dig "properties" "inferencePlatform" "" $theirs)) -}}{{- $old = $name -}}{{- end -}}
{{- $mine := dig "schema" "openAPIV3Schema" "properties" "spec" dict $same -}}
{{- $lost := include "nimfleet.unknown" (dict "path" "spec" "theirs" $theirs "ours" $mine "depth" 4) | fromJsonArray -}}
{{- range $lost -}}{{- $unknown = append $unknown (printf "%s: %s" $name .) -}}{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and $foreign (not .Values.adopt) -}}
{{- fail (printf "these definitions are there already and are not of release %s: %s. To take them over, with all objects of their kinds as they are, run helm again with --take-ownership --set adopt=true; uninstall NVIDIA's NIM Operator first (its definitions stay)" .Release.Name (join ", " $foreign)) -}}
{{- end -}}
{{- if and $foreign (semverCompare "<3.17.0-0" .Capabilities.HelmVersion.Version) -}}
{{- fail (printf "adopt: helm %s cannot take over what another release made: --take-ownership came with helm 3.17.0" .Capabilities.HelmVersion.Version) -}}
{{- end -}}
{{- if $old -}}
{{- fail (printf "adopt: %s has no spec.inferencePlatform, so it is of a NIM Operator before 3.0.0, whose objects this chart does not take over: bring NVIDIA's operator to 3.0.0 or later first" $old) -}}
{{- end -}}
{{- if and $foreign $unknown -}}
{{- fail (printf "adopt: the definitions in this cluster have what those of chart version %s do not know, and stored objects that use it would lose it: %s. Something newer than this chart made them: install a later nimfleet-crds" .Chart.Version (join "; " $unknown)) -}}
{{- end -}}
{{- end -}}

{{/* Paths of properties that one schema has and another lacks, as a JSON array; `depth` levels are looked at. */}}
{{- define "nimfleet.unknown" -}}
{{- $found := list -}}
{{- $context := . -}}
{{- if and (gt (int .depth) 0) (not (index .ours "x-kubernetes-preserve-unknown-fields")) -}}
{{- $ours := default dict .ours.properties -}}
{{- range $key, $schema := default dict .theirs.properties -}}
{{- $path := printf "%s.%s" $context.path $key -}}
{{- if not (hasKey $ours $key) -}}
{{- if not $context.ours.additionalProperties -}}{{- $found = append $found $path -}}{{- end -}}
{{- else -}}
{{- $deeper := include "nimfleet.unknown" (dict "path" $path "theirs" $schema "ours" (index $ours $key) "depth" (sub $context.depth 1)) | fromJsonArray -}}
{{- $found = concat $found $deeper -}}
{{- end -}}
{{- end -}}
{{- if and .theirs.items .ours.items -}}
{{- $deeper := include "nimfleet.unknown" (dict "path" (printf "%s[]" .path) "theirs" .theirs.items "ours" .ours.items "depth" .depth) | fromJsonArray -}}
{{- $found = concat $found $deeper -}}
{{- end -}}
{{- end -}}
{{- toJson $found -}}
{{- end -}}
