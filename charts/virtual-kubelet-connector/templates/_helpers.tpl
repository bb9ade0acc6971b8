{{/* The name in the labels, which selectors use. */}}
{{- define "vkc.name" -}}
{{- default "vkc" .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* The name of the objects. */}}
{{- define "vkc.fullname" -}}
{{- $name := include "vkc.name" . -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "vkc.serviceAccountName" -}}
{{- default (include "vkc.fullname" .) .Values.serviceAccount.name -}}
{{- end -}}

{{/* By what an object belongs to this release. */}}
{{- define "vkc.labels" -}}
app.kubernetes.io/name: {{ include "vkc.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: virtual-kubelet-connector
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "vkc.selector" -}}
app.kubernetes.io/name: {{ include "vkc.name" . }}
app.kubernetes.io/component: operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "vkc.subjects" -}}
subjects:
- kind: ServiceAccount
  name: {{ include "vkc.serviceAccountName" . }}
  namespace: {{ .Release.Namespace }}
{{- end -}}

{{- define "vkc.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{/* Since 1.36 an API server knows constrained impersonation (KEP-5284): not empty means that it does. */}}
{{- define "vkc.constrained" -}}
{{- if semverCompare ">=1.36-0" .Capabilities.KubeVersion.Version -}}yes{{- end -}}
{{- end -}}

{{/* The nodes of all connectors of the release and the extra ones, as a JSON list. */}}
{{- define "vkc.nodeNames" -}}
{{- $names := list -}}
{{- range $name, $spec := .Values.connectors -}}
{{- $os := default "Linux" $spec.osType -}}
{{- range (eq $os "Both" | ternary (list "linux" "windows") (list (lower $os))) -}}
{{- $names = append $names (printf "virtual-kubelet-%s-%s-%s" $name . $spec.region) -}}
{{- end -}}
{{- end -}}
{{- concat $names .Values.extraNodeNames | uniq | toJson -}}
{{- end -}}

{{/* What the restricted pod security standard asks for. */}}
{{- define "vkc.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end -}}
{{- define "vkc.securityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/* The token of the ServiceAccount, for the containers that mount it and for no other. */}}
{{- define "vkc.tokenVolume" -}}
- name: token
  projected:
    sources:
    - serviceAccountToken:
        path: token
        expirationSeconds: 3600
    - configMap:
        name: kube-root-ca.crt
        items:
        - key: ca.crt
          path: ca.crt
    - downwardAPI:
        items:
        - path: namespace
          fieldRef:
            fieldPath: metadata.namespace
{{- end -}}
{{- define "vkc.tokenMount" -}}
- name: token
  mountPath: /var/run/secrets/kubernetes.io/serviceaccount
  readOnly: true
{{- end -}}

{{/* Not on a node that the operator itself keeps alive. */}}
{{- define "vkc.affinity" -}}
nodeAffinity:
  requiredDuringSchedulingIgnoredDuringExecution:
    nodeSelectorTerms:
    - matchExpressions:
      - key: type
        operator: NotIn
        values: [virtual-kubelet]
      - key: kubernetes.io/os
        operator: In
        values: [linux]
{{- end -}}

{{/* Variables for what differs from what vkc does by itself. */}}
{{- define "vkc.settings" }}
{{- if ne .Values.log.level "info" }}
- name: VKC_LOG
  value: {{ .Values.log.level | quote }}
{{- end }}
{{- if ne .Values.log.format "json" }}
- name: VKC_LOG_FORMAT
  value: {{ .Values.log.format }}
{{- end }}
{{- with .Values.clusterDNS }}
- name: VKC_CLUSTER_DNS
  value: {{ join "," . | quote }}
{{- end }}
{{- if ne .Values.clusterDomain "cluster.local" }}
- name: VKC_CLUSTER_DOMAIN
  value: {{ .Values.clusterDomain }}
{{- end }}
{{- with .Values.kubernetesServiceHost }}
- name: VKC_KUBERNETES_SERVICE_HOST
  value: {{ . | quote }}
{{- end }}
{{- if ne .Values.kubeletPortRange "10260-10359" }}
- name: VKC_KUBELET_PORT_RANGE
  value: {{ .Values.kubeletPortRange | quote }}
{{- end }}
{{- if ne .Values.kubeletServingCert "self-signed" }}
- name: VKC_KUBELET_SERVING_CERT
  value: {{ .Values.kubeletServingCert }}
{{- end }}
{{- if .Values.kubeletCertSecret }}
- name: VKC_KUBELET_CERT_DIR
  value: /etc/vkc/kubelet
{{- end }}
{{- with .Values.credentials.workloadIdentity }}
{{- if and .enabled .subscriptionID }}
- name: AZURE_SUBSCRIPTION_ID
  value: {{ .subscriptionID }}
{{- end }}
{{- end }}
{{- end }}

{{- define "vkc.uninstallHook" -}}
helm.sh/hook: pre-delete
helm.sh/hook-weight: {{ . | quote }}
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end -}}

{{/* Labels of the pods that run kubectl. */}}
{{- define "vkc.kubectlLabels" -}}
app.kubernetes.io/name: {{ include "vkc.name" . }}
app.kubernetes.io/component: hook
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* What linters are told of them. */}}
{{- define "vkc.kubectlSkips" -}}
checkov.io/skip1: CKV_K8S_15=the image is immutable
{{- if not (contains "@" .Values.kubectl.image) }}
checkov.io/skip2: CKV_K8S_43=a release pins the digest
{{- end }}
kube-score/ignore: container-image-pull-policy
{{- end -}}

{{/* A pod with kubectl, for hooks and tests. */}}
{{- define "vkc.kubectlPod" -}}
restartPolicy: Never
# The token is in a volume of its own: only what mounts it has it.
automountServiceAccountToken: false
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
affinity:
  {{- include "vkc.affinity" . | nindent 2 }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  {{- include "vkc.podSecurityContext" . | nindent 2 }}
volumes:
{{ include "vkc.tokenVolume" . }}
{{- end -}}

{{- define "vkc.kubectlContainer" -}}
image: {{ .Values.kubectl.image | quote }}
imagePullPolicy: {{ .Values.kubectl.pullPolicy }}
# Whatever the entry point of the image is.
command: [kubectl]
resources:
  {{- toYaml .Values.kubectl.resources | nindent 2 }}
securityContext:
  {{- include "vkc.securityContext" . | nindent 2 }}
volumeMounts:
{{ include "vkc.tokenMount" . }}
{{- end -}}
