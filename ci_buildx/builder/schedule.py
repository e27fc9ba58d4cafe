"""The reaper as a CronJob: what docs/rbac holds beside its rights and `doctor` prints where there is none."""

from __future__ import annotations

from ci_buildx.builder.rights import REAPER
from ci_buildx.builder.rolesheet import SYSTEM

IMAGE = "registry.example/kube-builder:1"
"""Stands for the user's: any image with Python and kube-builder does."""


def sheet() -> str:
    """The CronJob as YAML, for the account of reaper.yaml. Its pods are such as every namespace admits."""
    return f"""\
# Runs `kube-builder reap` every five minutes, with the rights of reaper.yaml: apply that first.
# Replace {IMAGE} by an image of yours that has kube-builder in it.
---
apiVersion: batch/v1
kind: CronJob
metadata: {{name: {REAPER}, namespace: {SYSTEM}}}
spec:
  schedule: "*/5 * * * *"
  concurrencyPolicy: Forbid
  startingDeadlineSeconds: 200
  successfulJobsHistoryLimit: 1
  failedJobsHistoryLimit: 3
  jobTemplate:
    spec:
      activeDeadlineSeconds: 900
      backoffLimit: 0
      template:
        spec:
          serviceAccountName: {REAPER}
          restartPolicy: Never
          securityContext: {{runAsNonRoot: true, runAsUser: 65532, seccompProfile: {{type: RuntimeDefault}}}}
          containers:
          - name: reap
            image: {IMAGE}
            command: [kube-builder, reap]
            env:
            - {{name: HOME, value: /tmp}}
            securityContext:
              allowPrivilegeEscalation: false
              readOnlyRootFilesystem: true
              capabilities: {{drop: [ALL]}}
            resources:
              requests: {{cpu: 50m, memory: 64Mi}}
              limits: {{memory: 256Mi}}
"""
