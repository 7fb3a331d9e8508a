{{/* Name of every object: one hub runs in a cluster, so the release name is no part of it. */}}
{{- define "nimfleet.name" -}}
{{- .Values.fullnameOverride | default .Chart.Name | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "nimfleet.serviceAccountName" -}}
{{- .Values.serviceAccount.name | default (include "nimfleet.name" .) -}}
{{- end -}}

{{/* Whether the cluster assigns the users of pods by its security context constraints. */}}
{{- define "nimfleet.openshift" -}}
{{- if .Capabilities.APIVersions.Has "security.openshift.io/v1" -}}true{{- end -}}
{{- end -}}

{{- define "nimfleet.selectorLabels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "nimfleet.labels" -}}
{{ include "nimfleet.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/component: hub
app.kubernetes.io/part-of: nimfleet
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}
