{{/* Limits as CEL: a list of regular expressions for names in which * stands for any run of characters. */}}
{{- define "nimfleet.cel.patterns" -}}
{{- $all := list -}}
{{- range . -}}
{{- $all = append $all (printf "(?s)^%s$" (regexQuoteMeta . | replace "\\*" ".*")) -}}
{{- end -}}
{{- toJson $all -}}
{{- end -}}

{{/* The same for registries or parts of them: what lies below one, and the tag or digest of a whole repository. */}}
{{- define "nimfleet.cel.images" -}}
{{- $all := list -}}
{{- range .limits.images -}}
{{- $prefix := trimSuffix "/" . -}}
{{- if eq . "*" -}}
{{- $all = append $all "(?s)^.*$" -}}
{{- else if contains "/" $prefix -}}
{{- $all = append $all (printf "(?s)^%s($|/|[:@][^/]*$)" (regexQuoteMeta $prefix)) -}}
{{- else -}}
{{- $all = append $all (printf "(?s)^%s($|/)" (regexQuoteMeta $prefix)) -}}
{{- end -}}
{{- end -}}
{{- $all = append $all (printf "^%s$" (regexQuoteMeta .operator.waitForPostgresImage)) -}}
{{- toJson $all -}}
{{- end -}}

{{/* The same for folders of nodes. */}}
{{- define "nimfleet.cel.folders" -}}
{{- $all := list -}}
{{- range . -}}
{{- if eq . "*" -}}
{{- $all = append $all "(?s)^/.*$" -}}
{{- else -}}
{{- $all = append $all (printf "(?s)^%s($|/)" (regexQuoteMeta (trimSuffix "/" .))) -}}
{{- end -}}
{{- end -}}
{{- toJson $all -}}
{{- end -}}

{{/* The same for labels and annotations, key or key=value, to be held against key=value. */}}
{{- define "nimfleet.cel.pairs" -}}
{{- $all := list -}}
{{- range . -}}
{{- $parts := splitn "=" 2 . -}}
{{- $key := regexQuoteMeta $parts._0 | replace "\\*" "[^=]*" -}}
{{- if contains "=" . -}}
{{- $all = append $all (printf "(?s)^%s=%s$" $key (regexQuoteMeta $parts._1 | replace "\\*" ".*")) -}}
{{- else -}}
{{- $all = append $all (printf "(?s)^%s=" $key) -}}
{{- end -}}
{{- end -}}
{{- toJson $all -}}
{{- end -}}

{{/* Whose writes are judged: the spoke's alone. */}}
{{- define "nimfleet.policy.by" -}}
- name: written-by-the-spoke
  expression: request.userInfo.username == {{ printf "system:serviceaccount:%s:%s" .Release.Namespace (include "nimfleet.serviceAccountName" .) | toJson }}
{{- end -}}

{{/* And of those, what is made for an object that a hub delivered. */}}
{{- define "nimfleet.policy.delivered" -}}
{{ include "nimfleet.policy.by" . }}
{{- if .Values.admissionPolicy.localObjects }}
- name: not-for-an-object-of-this-clusters-people
  expression: object.?metadata.?annotations.orValue({})[?'nimfleet.io/local'].orValue('') != 'true'
{{- end }}
{{- end -}}

{{/* Metadata of a policy and of its binding. */}}
{{- define "nimfleet.policy.metadata" -}}
name: {{ include "nimfleet.name" .root }}-{{ .name }}
labels:
  {{- include "nimfleet.labels" .root | nindent 2 }}
{{- end -}}

{{- define "nimfleet.policy.binding" -}}
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata:
  {{- include "nimfleet.policy.metadata" . | nindent 2 }}
spec:
  policyName: {{ include "nimfleet.name" .root }}-{{ .name }}
  validationActions: [Deny]
{{- end -}}
