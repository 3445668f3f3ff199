{{- define "hybrid.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- /* At most 40, since a pod's name is this, a component and a number, and names a member of a group. */ -}}
{{- define "hybrid.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains (include "hybrid.name" .) .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "hybrid.name" .) | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "hybrid.selector" -}}
app.kubernetes.io/name: {{ include "hybrid.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .process }}
{{- end -}}

{{- define "hybrid.labels" -}}
{{ include "hybrid.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "hybrid.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default (include "hybrid.fullname" .) -}}
{{- else -}}
{{- .Values.serviceAccount.name | default "default" -}}
{{- end -}}
{{- end -}}

{{- define "hybrid.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* Numbers of values are floats in a template, and 1048576 would become 1.048576e+06. */ -}}
{{- define "hybrid.text" -}}
{{- if kindIs "string" . -}}{{ . }}{{- else -}}{{ toJson . }}{{- end -}}
{{- end -}}

{{- /* The secrets that a process needs, as variable: {secret, key}. */ -}}
{{- define "hybrid.secrets" -}}
{{- $found := dict -}}
{{- range $variable, $where := .root.Values.secrets -}}
{{- $ofStore := eq $variable "CLICKHOUSE_URL" -}}
{{- $ofAlerts := hasPrefix "HYBRID_ALERT_" $variable -}}
{{- $ofKafka := hasPrefix "KAFKA_" $variable -}}
{{- $wanted := dict "worker" (not (or $ofStore $ofAlerts)) "recorder" (or $ofStore $ofAlerts $ofKafka) "setup" (or $ofStore $ofKafka) -}}
{{- if get $wanted $.process -}}{{- $_ := set $found $variable $where -}}{{- end -}}
{{- end -}}
{{- toJson $found -}}
{{- end -}}

{{- define "hybrid.env" -}}
{{- $values := .root.Values -}}
{{- with $values.envFrom }}
envFrom: {{- toYaml . | nindent 2 }}
{{- end }}
env:
{{- include "hybrid.variables" . | indent 2 }}
{{- end -}}

{{- define "hybrid.variables" -}}
{{- $values := .root.Values -}}
{{- range $name, $value := $values.settings }}
{{- if ne (toString $value) "" }}
- name: {{ $name }}
  value: {{ include "hybrid.text" $value | quote }}
{{- end }}
{{- end }}
{{- if eq .process "worker" }}
- name: HYBRID_INSTANCE_ID
  valueFrom:
    fieldRef:
      fieldPath: metadata.name
{{- end }}
- name: HYBRID_METRICS_PORT
  value: "9464"
{{- range $variable, $_ := include "hybrid.secrets" . | fromJson }}
- name: {{ $variable }}_FILE
  value: /secrets/{{ $variable }}
{{- end }}
{{- if $values.config }}
- name: HYBRID_CONFIG
  value: /config/hybrid.toml
{{- end }}
{{- if and $values.prompts (eq .process "worker") }}
- name: HYBRID_PROMPTS_DIR
  value: /prompts
{{- end }}
{{- if and $values.simulator.enabled (eq .process "worker") }}
- name: HYBRID_SIMULATOR
  value: http://{{ include "hybrid.fullname" .root }}-simulator:8089
{{- end }}
{{- with $values.kafkaTls }}
{{- if .secret }}
{{- range $variable, $key := dict "KAFKA_SSL_CAFILE" .ca "KAFKA_SSL_CERTFILE" .certificate "KAFKA_SSL_KEYFILE" .key }}
{{- if $key }}
- name: {{ $variable }}
  value: /kafka-tls/{{ $key }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- if and $values.clickhouseCa.secret (ne .process "worker") }}
- name: CLICKHOUSE_CA_FILE
  value: /clickhouse-ca/{{ $values.clickhouseCa.key }}
{{- end }}
{{- end -}}

{{- define "hybrid.volumeMounts" -}}
{{- $values := .root.Values -}}
{{- $found := $values.volumeMounts -}}
{{- if include "hybrid.secrets" . | fromJson -}}
{{- $found = append $found (dict "name" "secrets" "mountPath" "/secrets" "readOnly" true) -}}
{{- end -}}
{{- if $values.config -}}
{{- $found = append $found (dict "name" "config" "mountPath" "/config" "readOnly" true) -}}
{{- end -}}
{{- if and $values.prompts (eq .process "worker") -}}
{{- $found = append $found (dict "name" "prompts" "mountPath" "/prompts" "readOnly" true) -}}
{{- end -}}
{{- if $values.kafkaTls.secret -}}
{{- $found = append $found (dict "name" "kafka-tls" "mountPath" "/kafka-tls" "readOnly" true) -}}
{{- end -}}
{{- if and $values.clickhouseCa.secret (ne .process "worker") -}}
{{- $found = append $found (dict "name" "clickhouse-ca" "mountPath" "/clickhouse-ca" "readOnly" true) -}}
{{- end -}}
{{- with $found -}}
volumeMounts:
{{ toYaml . }}
{{- end -}}
{{- end -}}

{{- /* Files of secrets are the group's to read (fsGroup): 288 is 0440. */ -}}
{{- define "hybrid.volumes" -}}
{{- $values := .root.Values -}}
{{- $found := $values.volumes -}}
{{- $sources := list -}}
{{- range $variable, $where := include "hybrid.secrets" . | fromJson -}}
{{- $item := dict "key" $where.key "path" $variable -}}
{{- $sources = append $sources (dict "secret" (dict "name" $where.secret "items" (list $item))) -}}
{{- end -}}
{{- if $sources -}}
{{- $found = append $found (dict "name" "secrets" "projected" (dict "defaultMode" 288 "sources" $sources)) -}}
{{- end -}}
{{- $name := include "hybrid.fullname" .root -}}
{{- if $values.config -}}
{{- $map := ternary (printf "%s-setup" $name) $name (eq .process "setup") -}}
{{- $found = append $found (dict "name" "config" "configMap" (dict "name" $map)) -}}
{{- end -}}
{{- if and $values.prompts (eq .process "worker") -}}
{{- $found = append $found (dict "name" "prompts" "configMap" (dict "name" (printf "%s-prompts" $name))) -}}
{{- end -}}
{{- if $values.kafkaTls.secret -}}
{{- $found = append $found (dict "name" "kafka-tls" "secret" (dict "secretName" $values.kafkaTls.secret "defaultMode" 288)) -}}
{{- end -}}
{{- if and $values.clickhouseCa.secret (ne .process "worker") -}}
{{- $found = append $found (dict "name" "clickhouse-ca" "secret" (dict "secretName" $values.clickhouseCa.secret "defaultMode" 288)) -}}
{{- end -}}
{{- with $found -}}
volumes:
{{ toYaml . }}
{{- end -}}
{{- end -}}

{{- /* As deploy/Dockerfile's user, which has nothing to write. */ -}}
{{- define "hybrid.podSecurity" -}}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile:
    type: RuntimeDefault
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
{{- range . }}
  - name: {{ . }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "hybrid.containerSecurity" -}}
image: {{ include "hybrid.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
{{- end -}}

{{- /* Alive is who answers; ready is who has Kafka and its lanes. */ -}}
{{- define "hybrid.probes" -}}
ports:
  - name: metrics
    containerPort: 9464
startupProbe:
  httpGet: {path: /healthz, port: metrics}
  periodSeconds: 2
  timeoutSeconds: 3
  failureThreshold: 60
livenessProbe:
  httpGet: {path: /healthz, port: metrics}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
readinessProbe:
  httpGet: {path: /readyz, port: metrics}
  periodSeconds: 5
  timeoutSeconds: 3
  failureThreshold: 2
{{- end -}}

{{- define "hybrid.placing" -}}
{{- with .nodeSelector }}
nodeSelector:
{{ toYaml . | indent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations:
{{ toYaml . | indent 2 }}
{{- end }}
{{- with .affinity }}
affinity:
{{ toYaml . | indent 2 }}
{{- end }}
{{- with .priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end -}}

{{- define "hybrid.annotations" -}}
checksum/config: {{ print .root.Values.config (toJson .root.Values.prompts) | sha256sum }}
{{- with .more }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "hybrid.maxReplicas" -}}
{{- $partitions := int .Values.settings.HYBRID_PARTITIONS -}}
{{- $most := int (.Values.autoscaling.maxReplicas | default $partitions) -}}
{{- if gt $most $partitions -}}
{{- fail (printf "autoscaling.maxReplicas is %d, and settings.HYBRID_PARTITIONS %d: workers beyond one a partition do nothing; take %d at most" $most $partitions $partitions) -}}
{{- end -}}
{{- if gt (int .Values.autoscaling.minReplicas) $most -}}
{{- fail (printf "autoscaling.minReplicas is %d, more than the %d workers at most" (int .Values.autoscaling.minReplicas) $most) -}}
{{- end -}}
{{- $most -}}
{{- end -}}
