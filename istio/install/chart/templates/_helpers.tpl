{{- define "safestate.image" -}}
{{- with .Values.image -}}
{{- if .digest }}{{ .repository }}@{{ .digest }}{{ else }}{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}{{ end -}}
{{- end -}}
{{- end }}

{{- define "safestate.labels" -}}
app.kubernetes.io/name: safestate
app.kubernetes.io/component: {{ .part }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
{{- end }}

{{- define "safestate.selector" -}}
app.kubernetes.io/name: safestate
app.kubernetes.io/component: {{ .part }}
{{- end }}

{{- /* The pods dial and serve TLS themselves: a sidecar would be one more hop of every answer, and end before they have drained. */}}
{{- define "safestate.podLabels" -}}
{{ include "safestate.selector" . }}
sidecar.istio.io/inject: "false"
istio.io/dataplane-mode: none
{{- with .values.podLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "safestate.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "safestate.containerSecurity" -}}
allowPrivilegeEscalation: false
privileged: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{- define "safestate.probes" -}}
startupProbe:
  httpGet: {path: /healthz, port: http, scheme: HTTPS}
  periodSeconds: 2
  failureThreshold: 60
livenessProbe:
  httpGet: {path: /healthz, port: http, scheme: HTTPS}
  periodSeconds: 10
  timeoutSeconds: 3
readinessProbe:
  httpGet: {path: /readyz, port: http, scheme: HTTPS}
  periodSeconds: 2
  timeoutSeconds: 2
  failureThreshold: 2
{{- end }}

{{- define "safestate.scheduling" -}}
topologySpreadConstraints:
{{- range list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
- maxSkew: 1
  topologyKey: {{ . }}
  whenUnsatisfiable: {{ $.root.Values.spread.whenUnsatisfiable }}
  labelSelector:
    matchLabels:
      {{- include "safestate.selector" $ | nindent 6 }}
  matchLabelKeys: [{{ $.revision }}]
{{- end }}
{{- with .values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- /* The name of a Service of ours, as proxies and replicas dial it. */}}
{{- define "safestate.host" -}}
safestate-{{ .part }}.{{ .root.Release.Namespace }}.svc.{{ .root.Values.clusterDomain }}
{{- end }}

{{- /* All the names by which a Service of ours is known. */}}
{{- define "safestate.names" -}}
{{- $service := printf "safestate-%s" .part -}}
{{- $in := printf "%s.%s" $service .root.Release.Namespace -}}
- {{ include "safestate.host" . }}
- {{ $in }}.svc
- {{ $in }}
- {{ $service }}
{{- end }}

{{- define "safestate.accessVolume" -}}
- name: access
{{- if .Values.control.accessSecret }}
  secret: {secretName: {{ .Values.control.accessSecret }}}
{{- else }}
  configMap: {name: safestate-access}
{{- end }}
{{- end }}
