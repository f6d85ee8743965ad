//! Renders dashboards of the agent's metrics for Grafana, for OpenShift's console, which takes
//! Grafana's JSON in a ConfigMap, and for Perses, all from one list of panels.

use serde_json::{Map, Value, json};

use super::cluster::NAMESPACE;

const TITLE: &str = "wasp-agent: swap of nodes";
/// The selector of the chosen nodes in a query.
const OF_NODE: &str = "instance=~\"$instance\"";

/// A panel: a title, a unit in the words of Grafana and of Perses, and queries with their legends.
struct Panel {
    title: &'static str,
    unit: (&'static str, &'static str),
    queries: &'static [(&'static str, &'static str)],
}

const BYTES: (&str, &str) = ("bytes", "bytes");
const BYTES_PER_SECOND: (&str, &str) = ("Bps", "bytes/sec");
const RATIO: (&str, &str) = ("percentunit", "percent-decimal");
const NUMBER: (&str, &str) = ("short", "decimal");

/// `{n}` in a query is replaced by the selector of the chosen nodes.
const PANELS: &[Panel] = &[
    Panel {
        title: "Swap of the node",
        unit: BYTES,
        queries: &[
            ("wasp_agent_node_swap_used_bytes{n}", "{{instance}} in use"),
            ("wasp_agent_node_swap_bytes{n}", "{{instance}} size"),
            ("wasp_agent_node_swap_configured_bytes{n}", "{{instance}} configured"),
        ],
    },
    Panel {
        title: "Working set and swap in use, as a fraction of RAM",
        unit: RATIO,
        queries: &[(
            "(wasp_agent_node_working_set_bytes{n} + wasp_agent_node_swap_used_bytes{n}) / \
             wasp_agent_node_ram_bytes{n}",
            "{{instance}}",
        )],
    },
    Panel {
        title: "Swap traffic",
        unit: BYTES_PER_SECOND,
        queries: &[
            ("rate(wasp_agent_node_swapped_in_bytes_total{n}[5m])", "{{instance}} in"),
            ("rate(wasp_agent_node_swapped_out_bytes_total{n}[5m])", "{{instance}} out"),
        ],
    },
    Panel {
        title: "Time in which processes waited for memory",
        unit: RATIO,
        queries: &[
            (
                "rate(wasp_agent_memory_some_stalled_seconds_total{n}[5m])",
                "{{instance}} {{scope}}, some",
            ),
            (
                "rate(wasp_agent_memory_full_stalled_seconds_total{n}[5m])",
                "{{instance}} {{scope}}, all",
            ),
        ],
    },
    Panel {
        title: "Eviction signals, relative to their thresholds",
        unit: RATIO,
        queries: &[("wasp_agent_signal_ratio{n}", "{{instance}} {{signal}}")],
    },
    Panel {
        title: "Evictions per hour",
        unit: NUMBER,
        queries: &[
            (
                "sum by (instance) (increase(wasp_agent_evictions_total{n}[1h]))",
                "{{instance}} requests",
            ),
            (
                "sum by (instance, outcome) (increase(wasp_agent_evictions_total{n}[1h])) > 0",
                "{{instance}} {{outcome}}",
            ),
        ],
    },
    Panel {
        title: "Swap of containers",
        unit: BYTES,
        queries: &[
            ("wasp_agent_swap_used_bytes{n}", "{{instance}} in use"),
            ("wasp_agent_swap_granted_bytes{n}", "{{instance}} granted"),
        ],
    },
    Panel {
        title: "Containers above their grant, and without limit",
        unit: NUMBER,
        queries: &[
            ("wasp_agent_containers_above_grant{n}", "{{instance}} above"),
            ("wasp_agent_containers_unlimited{n}", "{{instance}} without limit"),
        ],
    },
    Panel {
        title: "Limits written per hour, by cause",
        unit: NUMBER,
        queries: &[(
            "sum by (instance, cause) (increase(wasp_agent_limits_written_total{n}[1h]))",
            "{{instance}} {{cause}}",
        )],
    },
    Panel {
        title: "Problems of the agent",
        unit: NUMBER,
        queries: &[
            ("sum by (instance) (wasp_agent_problem{n})", "{{instance}} problems"),
            ("wasp_agent_problem{n} == 1", "{{instance}} {{kind}}"),
            ("changes(wasp_agent_start_timestamp_seconds{n}[15m]) > 0", "{{instance}} started"),
        ],
    },
];

/// The query for the selectable nodes.
const NODES: &str = "label_values(wasp_agent_build_info, instance)";

fn query(text: &str) -> String {
    text.replace("{n}", &format!("{{{OF_NODE}}}"))
}

/// Returns each panel's title, and its queries with their legends, including `$instance`.
pub fn panels() -> Vec<(&'static str, Vec<(String, &'static str)>)> {
    let queries = |panel: &Panel| panel.queries.iter().map(|(text, legend)| (query(text), *legend));
    PANELS.iter().map(|panel| (panel.title, queries(panel).collect())).collect()
}

/// The form of a query that Grafana and the console share.
fn targets(queries: &[(&str, &str)]) -> Value {
    let targets = queries.iter().zip('A'..).map(|((text, legend), letter)| {
        json!({ "expr": query(text), "legendFormat": legend, "refId": letter.to_string() })
    });
    targets.collect()
}

/// For Grafana 9 and later.
pub fn grafana() -> Value {
    let panel = |(index, Panel { title, unit, queries }): (usize, &Panel)| {
        json!({
            "id": index + 1,
            "type": "timeseries",
            "title": title,
            "datasource": { "type": "prometheus", "uid": "$datasource" },
            "gridPos": { "x": index % 2 * 12, "y": index / 2 * 8, "w": 12, "h": 8 },
            "fieldConfig": { "defaults": { "unit": unit.0, "min": 0 }, "overrides": [] },
            "options": {
                "legend": { "displayMode": "list", "placement": "bottom", "showLegend": true },
                "tooltip": { "mode": "multi", "sort": "desc" },
            },
            "targets": targets(queries),
        })
    };
    json!({
        "title": TITLE,
        "uid": "wasp-agent",
        "tags": ["wasp-agent", "swap"],
        "schemaVersion": 37,
        "refresh": "1m",
        "time": { "from": "now-6h", "to": "now" },
        "timezone": "browser",
        "templating": { "list": [
            { "name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus" },
            {
                "name": "instance",
                "label": "Node",
                "type": "query",
                "datasource": { "type": "prometheus", "uid": "$datasource" },
                "query": NODES,
                "refresh": 2,
                "includeAll": true,
                "multi": true,
                "allValue": ".*",
                "current": { "text": "All", "value": "$__all" },
            },
        ] },
        "panels": PANELS.iter().enumerate().map(panel).collect::<Vec<_>>(),
    })
}

/// The console draws rows of panels of type `graph`, and uses its own data source. It shows a
/// legend only with `legend.show`, and a variable only with `hide: 0`, and begins with all nodes.
/// Source: openshift/monitoring-plugin, `web/src/components/dashboards/legacy`.
fn for_console() -> Value {
    let panels = PANELS.iter().enumerate().map(|(index, Panel { title, unit, queries })| {
        json!({
            "id": index + 1,
            "type": "graph",
            "title": title,
            "span": 6,
            "legend": { "show": true },
            "yaxes": [{ "format": unit.0 }, { "format": unit.0 }],
            "targets": targets(queries),
        })
    });
    let panels: Vec<Value> = panels.collect();
    json!({
        "title": TITLE,
        "tags": ["wasp-agent"],
        "templating": { "list": [{
            "name": "instance",
            "label": "Node",
            "type": "query",
            "query": NODES,
            "hide": 0,
            "includeAll": true,
        }] },
        "rows": panels.chunks(2).map(|panels| json!({ "panels": panels })).collect::<Vec<_>>(),
    })
}

/// Source: OpenShift, "Reviewing monitoring dashboards as a cluster administrator".
pub(super) fn console() -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": "wasp-agent-dashboard",
            "namespace": "openshift-config-managed",
            "labels": { "console.openshift.io/dashboard": "true" },
        },
        "data": { "wasp-agent.json": format!("{:#}", for_console()) },
    })
}

/// Source: Perses, `docs/api/dashboard.md`.
pub(super) fn perses() -> Value {
    let mut panels = Map::new();
    let mut items = Vec::new();
    for (index, Panel { title, unit, queries }) in PANELS.iter().enumerate() {
        let name = format!("panel{index}");
        let queries = queries.iter().map(|(text, legend)| {
            json!({ "kind": "TimeSeriesQuery", "spec": { "plugin": {
                "kind": "PrometheusTimeSeriesQuery",
                "spec": { "query": query(text), "seriesNameFormat": legend },
            } } })
        });
        items.push(json!({
            "x": index % 2 * 12, "y": index / 2 * 8, "width": 12, "height": 8,
            "content": { "$ref": format!("#/spec/panels/{name}") },
        }));
        let panel = json!({ "kind": "Panel", "spec": {
            "display": { "name": title },
            "plugin": { "kind": "TimeSeriesChart", "spec": {
                "legend": { "position": "bottom" },
                "yAxis": { "format": { "unit": unit.1 }, "min": 0 },
            } },
            "queries": queries.collect::<Vec<_>>(),
        } });
        panels.insert(name, panel);
    }
    json!({
        "apiVersion": "perses.dev/v1alpha1",
        "kind": "PersesDashboard",
        "metadata": { "name": "wasp-agent", "namespace": NAMESPACE },
        "spec": {
            "display": { "name": TITLE },
            "duration": "6h",
            "variables": [{ "kind": "ListVariable", "spec": {
                "name": "instance",
                "display": { "name": "Node" },
                "allowAllValue": true,
                "allowMultiple": true,
                "customAllValue": ".*",
                "defaultValue": "$__all",
                "plugin": { "kind": "PrometheusLabelValuesVariable", "spec": {
                    "labelName": "instance",
                    "matchers": ["wasp_agent_build_info"],
                } },
            } }],
            "panels": panels,
            "layouts": [{ "kind": "Grid", "spec": { "items": items } }],
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Collects a value's strings under `key`.
    fn found<'a>(value: &'a Value, key: &str, all: &mut Vec<&'a str>) {
        match value {
            Value::Object(map) => {
                for (name, value) in map {
                    match value {
                        Value::String(text) if name == key => all.push(text),
                        value => found(value, key, all),
                    }
                }
            }
            Value::Array(values) => values.iter().for_each(|value| found(value, key, all)),
            _ => {}
        }
    }

    #[test]
    fn every_dashboard_asks_every_query() {
        let of = |dashboard: &Value, key: &str| {
            let mut all = Vec::new();
            found(dashboard, key, &mut all);
            all.into_iter().map(str::to_owned).filter(|t| t.contains("$instance")).collect()
        };
        let (grafana, console, perses): (Vec<_>, Vec<_>, Vec<_>) =
            (of(&grafana(), "expr"), of(&for_console(), "expr"), of(&perses(), "query"));
        let queries: Vec<String> =
            panels().into_iter().flat_map(|(_, queries)| queries).map(|(query, _)| query).collect();
        assert_eq!(grafana, queries);
        assert_eq!(console, queries);
        let (mut perses, mut all) = (perses, queries);
        perses.sort();
        all.sort();
        assert_eq!(perses, all);
    }

    #[test]
    fn every_panel_of_perses_has_its_place() {
        let dashboard = perses();
        let items = dashboard["spec"]["layouts"][0]["spec"]["items"].as_array().unwrap();
        assert_eq!(items.len(), PANELS.len());
        for item in items {
            let path = item["content"]["$ref"].as_str().unwrap().strip_prefix('#').unwrap();
            assert_eq!(dashboard.pointer(path).unwrap()["kind"], "Panel", "{path}");
        }
    }

    /// Tests an object against a definition of `grafana-dashboard.json`.
    fn complies(object: &Value, kind: &str, schema: &Value) {
        let fields = |of: &str| -> Vec<&str> {
            schema[kind][of].as_array().unwrap().iter().map(|v| v.as_str().unwrap()).collect()
        };
        let object = object.as_object().unwrap();
        for field in fields("required") {
            assert!(object.contains_key(field), "{kind} lacks {field}");
        }
        let known = [fields("required"), fields("optional")].concat();
        for field in object.keys().filter(|_| schema[kind]["closed"] == true) {
            assert!(known.contains(&&**field), "{kind} has no field {field}");
        }
    }

    #[test]
    fn the_dashboard_for_grafana_follows_its_schema() {
        let schema = include_str!("../../tests/fixtures/grafana-dashboard.json");
        let schema: Value = serde_json::from_str(schema).unwrap();
        let dashboard = grafana();
        complies(&dashboard, "Dashboard", &schema);
        let types = schema["VariableType"].as_array().unwrap();
        for variable in dashboard["templating"]["list"].as_array().unwrap() {
            complies(variable, "VariableModel", &schema);
            assert!(types.contains(&variable["type"]), "{variable}");
        }
        let mut ids = Vec::new();
        for panel in dashboard["panels"].as_array().unwrap() {
            complies(panel, "Panel", &schema);
            complies(&panel["gridPos"], "GridPos", &schema);
            complies(&panel["fieldConfig"], "FieldConfigSource", &schema);
            complies(&panel["fieldConfig"]["defaults"], "FieldConfig", &schema);
            complies(&panel["datasource"], "DataSourceRef", &schema);
            let place = |of: &str| panel["gridPos"][of].as_u64().unwrap();
            assert!(place("h") > 0 && place("w") > 0 && place("x") + place("w") <= 24, "{panel}");
            ids.push(panel["id"].as_u64().unwrap());
        }
        ids.dedup();
        assert_eq!(ids.len(), PANELS.len());
    }

    /// The fields that the console's code reads, and the units that it knows.
    #[test]
    fn the_console_shows_the_panels_and_the_choice_of_nodes() {
        let map = console();
        assert_eq!(map["metadata"]["labels"]["console.openshift.io/dashboard"], "true");
        // It reads the first value only.
        let [text] = &map["data"].as_object().unwrap().values().collect::<Vec<_>>()[..] else {
            panic!("{map}")
        };
        let board: Value = serde_json::from_str(text.as_str().unwrap()).unwrap();
        let variable = &board["templating"]["list"][0];
        assert_eq!((&variable["type"], &variable["hide"]), (&json!("query"), &json!(0)));
        // It turns this form into a query, and no other.
        let query = variable["query"].as_str().unwrap();
        let inner = query.strip_prefix("label_values(").unwrap().strip_suffix(')').unwrap();
        assert_eq!(inner.split(", ").count(), 2);
        let units = ["Bytes", "bytes", "bps", "Bps", "pps", "ms", "s", "percentunit", "short"]
            .map(Value::from);
        let rows = board["rows"].as_array().unwrap();
        for panel in rows.iter().flat_map(|row| row["panels"].as_array().unwrap()) {
            assert_eq!(panel["type"], "graph");
            assert_eq!(panel["legend"]["show"], true);
            assert!(units.contains(&panel["yaxes"][0]["format"]), "{panel}");
            assert!(panel["title"].is_string() && panel["span"].as_u64() <= Some(12));
        }
    }
}
