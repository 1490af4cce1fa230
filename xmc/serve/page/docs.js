"use strict";

// openapi.json, drawn: each route with its fields and a command to try it.

const made = (name, properties = {}, ...children) => {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...children);
  return element;
};

const EXAMPLES = {
  "/v1/predict": { texts: ["a text"], k: 3 },
  "/v1/explain": { text: "a text", labels: ["label"] },
  "/predict": { inputs: "a text" },
  "/v1/projects/{project_id}/suggest-batch": { documents: [{ text: "a text", document_id: "1" }] },
};

function typeOf(schema, all) {
  if (schema.$ref) return typeOf(resolved(schema, all), all);
  if (schema.anyOf) return schema.anyOf.map((one) => typeOf(one, all)).join(" | ");
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.type === "array") return `[${schema.items ? typeOf(schema.items, all) : ""}]`;
  if (schema.properties) return `{${Object.keys(schema.properties).join(", ")}}`;
  return schema.type ?? "any";
}

const resolved = (schema, all) => (schema.$ref ? all[schema.$ref.split("/").at(-1)] : schema);

function fields(schema, all) {
  const rows = Object.entries(resolved(schema, all).properties ?? {}).map(([name, field]) => {
    const told = [field.default === undefined ? "" : `default ${JSON.stringify(field.default)}`, field.description ?? ""];
    const cells = [made("code", { textContent: name }), typeOf(field, all), told.filter(Boolean).join("; ")];
    return made("tr", {}, ...cells.map((cell) => made("td", {}, cell)));
  });
  return made("div", { className: "scroll" }, made("table", {}, ...rows));
}

function command(path, method, kind) {
  const url = location.origin + path;
  if (method === "get") return `curl ${url}`;
  if (kind === "application/x-www-form-urlencoded") return `curl ${url} --data-urlencode "text=a text" -d limit=3`;
  if (!kind) return `curl -X POST ${url}`;
  return `curl ${url} -H "Content-Type: application/json" \\\n  -d '${JSON.stringify(EXAMPLES[path] ?? {})}'`;
}

async function draw() {
  const api = await (await fetch("/openapi.json")).json();
  const all = api.components?.schemas ?? {};
  const parts = [made("p", { textContent: api.info.description })];
  const groups = new Map();
  for (const [path, methods] of Object.entries(api.paths)) {
    for (const [method, route] of Object.entries(methods)) {
      const tag = route.tags?.[0] ?? "";
      groups.set(tag, [...(groups.get(tag) ?? []), { path, method, route }]);
    }
  }
  for (const [tag, routes] of groups) {
    parts.push(made("h2", { textContent: tag }));
    for (const { path, method, route } of routes) {
      parts.push(made("h3", {}, made("code", { textContent: `${method.toUpperCase()} ${path}` })));
      parts.push(made("p", { textContent: route.summary }));
      const [kind, body] = Object.entries(route.requestBody?.content ?? {})[0] ?? [];
      if (body) parts.push(fields(body.schema, all));
      const queries = (route.parameters ?? []).filter((parameter) => parameter.in === "query");
      if (queries.length) {
        const properties = Object.fromEntries(queries.map((query) => [query.name, query.schema]));
        parts.push(fields({ properties }, all));
      }
      parts.push(made("pre", {}, made("code", { textContent: command(path, method, kind) })));
    }
  }
  document.getElementById("routes").replaceChildren(...parts);
}

draw();
