// Derives the resource from a storage key. kube-apiserver does not store the resource, and the keys of most built-in resources leave out its group.

const GROUPS = {
  "admissionregistration.k8s.io":
    "mutatingwebhookconfigurations validatingwebhookconfigurations validatingadmissionpolicies validatingadmissionpolicybindings",
  apps: "controllerrevisions daemonsets deployments replicasets statefulsets",
  autoscaling: "horizontalpodautoscalers",
  batch: "cronjobs jobs",
  "certificates.k8s.io": "certificatesigningrequests clustertrustbundles",
  "coordination.k8s.io": "leasecandidates leases",
  "discovery.k8s.io": "endpointslices",
  "flowcontrol.apiserver.k8s.io": "flowschemas prioritylevelconfigurations",
  "networking.k8s.io": "ingresses ingressclasses ipaddresses networkpolicies servicecidrs",
  "node.k8s.io": "runtimeclasses",
  policy: "poddisruptionbudgets",
  "rbac.authorization.k8s.io": "clusterrolebindings clusterroles rolebindings roles",
  "scheduling.k8s.io": "priorityclasses",
  "storage.k8s.io": "csidrivers csinodes csistoragecapacities storageclasses volumeattachments volumeattributesclasses",
};

const GROUP_OF = new Map(
  Object.entries(GROUPS).flatMap(([group, resources]) => resources.split(" ").map((resource) => [resource, group])),
);

/** Storage keys that use a different word than the resource. */
const RENAMED = new Map([
  ["controllers", "replicationcontrollers"],
  ["ingress", "ingresses"],
  ["minions", "nodes"],
]);

/**
 * Returns the resource of a storage key, as a configuration names it: `secrets`, `deployments.apps`, `widgets.example.com`. Returns `undefined` if
 * the key does not contain it.
 */
export function resourceOf(key) {
  const [prefix, first, second] = key.split("/").filter((part) => part !== "");
  if (prefix === undefined || first === undefined) return undefined;
  // /registry/<group>/<resource>/…: custom resources, and apiregistration.k8s.io.
  if (first.includes(".")) return second === undefined ? undefined : `${second}.${first}`;
  if (first === "services") return second === "endpoints" ? "endpoints" : "services";
  const resource = RENAMED.get(first) ?? first;
  const group = GROUP_OF.get(resource);
  return group === undefined ? resource : `${resource}.${group}`;
}

/**
 * Returns a resource for each entry of each rule in the output of `showConfig`: the resources to try if the storage key does not determine one. For
 * a wildcard, returns one resource that it covers.
 */
export function resourcesOfRules(shown) {
  const resources = [];
  let within = false;
  for (const line of shown.split("\n")) {
    if (line === "- resources:") within = true;
    else if (/^ {2}[a-z]/i.test(line)) within = false;
    else if (within) {
      const entry = /^ {2}- "?([^"]+)"?$/.exec(line)?.[1];
      if (entry === undefined) continue;
      resources.push(entry === "*.*" ? "any.any" : entry === "*." ? "any" : entry.replace(/^\*/, "any"));
    }
  }
  return [...new Set(resources)];
}
