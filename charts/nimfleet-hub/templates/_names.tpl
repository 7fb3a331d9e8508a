{{/* Name of every object: one hub runs in a cluster, so the release name is no part of it. */}}
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

{{/* Where spokes reach the hub: what is advertised, the first of which join commands name, and always the Service's own names. */}}
{{- define "nimfleet.advertise" -}}
{{- $given := .Values.link.advertise -}}
{{- if kindIs "string" $given -}}{{- $given = compact (list $given) -}}{{- end -}}
{{- $service := printf "%s.%s" (include "nimfleet.name" .) .Release.Namespace -}}
{{- range list (printf "%s.svc" $service) (printf "%s.svc.%s" $service .Values.clusterDomain) $service -}}
{{- $given = append $given (printf "%s:%v" . $.Values.link.service.port) -}}
{{- end -}}
{{- $given | uniq | join "," -}}
{{- end -}}

{{/* Refuses values of the link's Service that its type has no use for. */}}
{{- define "nimfleet.check.service" -}}
{{- $service := .Values.link.service -}}
{{- $of := dict "LoadBalancer" (list "allocateLoadBalancerNodePorts" "healthCheckNodePort" "loadBalancerClass" "loadBalancerIP" "loadBalancerSourceRanges") -}}
{{- range $value := $of.LoadBalancer -}}
{{- $given := index $service $value -}}
{{- if and (ne $service.type "LoadBalancer") (not (kindIs "invalid" $given)) $given -}}
{{- fail (printf "link.service.%s: %v: only a Service of type LoadBalancer has it, and link.service.type is %s: set the type to LoadBalancer, or leave this value out" $value $given $service.type) -}}
{{- end -}}
{{- end -}}
{{- range $value := list "nodePort" "externalTrafficPolicy" -}}
{{- $given := index $service $value -}}
{{- if and (eq $service.type "ClusterIP") $given -}}
{{- fail (printf "link.service.%s: %v: a Service of type ClusterIP is not reached from outside: set link.service.type to NodePort or LoadBalancer, or leave this value out" $value $given) -}}
{{- end -}}
{{- end -}}
{{- if and $service.healthCheckNodePort (ne (default "Cluster" $service.externalTrafficPolicy) "Local") -}}
{{- fail (printf "link.service.healthCheckNodePort: %v: it is used with link.service.externalTrafficPolicy=Local alone: set that, or leave this value out" $service.healthCheckNodePort) -}}
{{- end -}}
{{- end -}}
