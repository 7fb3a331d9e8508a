{{/* Name of every object: one spoke runs in a cluster, so the release name is no part of it. */}}
{{- define "nimfleet.name" -}}
{{- .Values.fullnameOverride | default .Chart.Name | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "nimfleet.serviceAccountName" -}}
{{- .Values.serviceAccount.name | default (include "nimfleet.name" .) -}}
{{- end -}}

{{/* The image: registry/repository:tag@digest. A digest without a tag needs none. */}}
{{- define "nimfleet.image" -}}
{{- $image := .Values.image -}}
{{- $name := $image.repository -}}
{{- if $image.registry -}}{{- $name = printf "%s/%s" (trimSuffix "/" $image.registry) $name -}}{{- end -}}
{{- $tag := $image.tag -}}
{{- if not (or $tag $image.digest) -}}{{- $tag = .Chart.AppVersion -}}{{- end -}}
{{- if $tag -}}{{- $name = printf "%s:%s" $name $tag -}}{{- end -}}
{{- if $image.digest -}}{{- $name = printf "%s@%s" $name $image.digest -}}{{- end -}}
{{- $name -}}
{{- end -}}

{{/* Whether the cluster assigns the users of pods by its security context constraints. */}}
{{- define "nimfleet.openshift" -}}
{{- if .Capabilities.APIVersions.Has "security.openshift.io/v1" -}}true{{- end -}}
{{- end -}}

{{/* ConfigMap with the CAs of models' endpoints; empty where the public ones count. */}}
{{- define "nimfleet.modelCA" -}}
{{- if .Values.operator.modelCA.configMap -}}
{{- .Values.operator.modelCA.configMap -}}
{{- else if include "nimfleet.openshift" . -}}
{{- include "nimfleet.name" . }}-service-ca
{{- end -}}
{{- end -}}

{{- define "nimfleet.selectorLabels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "nimfleet.labels" -}}
{{ include "nimfleet.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/component: spoke
app.kubernetes.io/part-of: nimfleet
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* Labels and annotations of an object whose values may add to both: (dict "root" . "more" values). */}}
{{- define "nimfleet.metadata" -}}
labels:
  {{- include "nimfleet.labels" .root | nindent 2 }}
  {{- with .more.labels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with .more.annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* One endpoint of a ServiceMonitor or PodMonitor by its values. */}}
{{- define "nimfleet.endpoint" -}}
- port: metrics
  path: /metrics
  {{- with .interval }}
  interval: {{ . }}
  {{- end }}
  {{- with .scrapeTimeout }}
  scrapeTimeout: {{ . }}
  {{- end }}
  {{- with .relabelings }}
  relabelings:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .metricRelabelings }}
  metricRelabelings:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}
