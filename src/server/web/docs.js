// The API's description for people, from /openapi.json.
"use strict";

const make = (tag, text, ...children) => {
  const element = document.createElement(tag);
  if (text) element.textContent = text;
  element.append(...children);
  return element;
};

function typeOf(schema) {
  if (schema.anyOf) return schema.anyOf.map(typeOf).join(" or ");
  if (schema.enum) return schema.enum.length > 12 ? `one of ${schema.enum.slice(0, 12).join(", ")}, …` : `one of ${schema.enum.join(", ")}`;
  if (schema.type === "array") return `list of ${typeOf(schema.items)}`;
  let text = schema.format === "binary" ? "file" : schema.type || "any";
  if (schema.minimum !== undefined) text += ` from ${schema.minimum} to ${schema.maximum}`;
  if (schema.maxLength !== undefined) text += `, at most ${schema.maxLength} characters`;
  return text;
}

function fieldTable(fields) {
  const table = make("table");
  const head = make("tr", "", ...["Field", "What", "Type", "Default"].map(text => {
    const cell = make("th", text);
    cell.scope = "col";
    return cell;
  }));
  table.append(make("thead", "", head));
  const body = make("tbody");
  for (const [name, schema, required] of fields) {
    body.append(make("tr", "", make("td", "", make("code", name), required ? " (needed)" : ""), make("td", schema.description || ""),
      make("td", typeOf(schema)), make("td", schema.default === undefined ? "" : JSON.stringify(schema.default))));
  }
  table.append(body);
  return table;
}

function describe(path, method, operation) {
  const block = make("article");
  block.className = "operation";
  const method_name = make("span", method.toUpperCase());
  method_name.className = "method";
  block.append(make("h3", "", method_name, make("code", path)), make("p", operation.summary));
  const parameters = (operation.parameters || []).filter(parameter => parameter.in === "query");
  if (parameters.length) block.append(fieldTable(parameters.map(parameter => [parameter.name, parameter.schema, parameter.required])));
  for (const [type, { schema }] of Object.entries((operation.requestBody || { content: {} }).content)) {
    block.append(make("p", "", "Body: ", make("code", type)));
    if (schema.properties) {
      block.append(fieldTable(Object.entries(schema.properties).map(([name, field]) => [name, field, (schema.required || []).includes(name)])));
    }
  }
  block.append(make("p", `Answers: ${Object.entries(operation.responses).map(([status, answer]) => `${status} ${answer.description}`).join("; ")}.`));
  return block;
}

(async () => {
  const place = document.getElementById("operations");
  try {
    const document_ = await (await fetch("/openapi.json")).json();
    const sections = new Map();
    for (const [path, methods] of Object.entries(document_.paths)) {
      for (const [method, operation] of Object.entries(methods)) {
        const [tag] = operation.tags;
        if (!sections.has(tag)) sections.set(tag, make("section", "", make("h2", tag)));
        sections.get(tag).append(describe(path, method, operation));
      }
    }
    place.replaceChildren(...sections.values());
  } catch (error) {
    place.replaceChildren(make("p", `The description could not be read: ${error.message}`));
  }
  place.removeAttribute("aria-busy");
})();
