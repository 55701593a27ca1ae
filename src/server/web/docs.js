// The API's description for people, from /openapi.json: contents, fields, answers, examples.
"use strict";

const make = (tag, text, ...children) => {
  const element = document.createElement(tag);
  if (text) element.textContent = text;
  element.append(...children);
  return element;
};

const titles = {
  clone: "Clone a voice",
  audio: "Clean a recording",
  files: "Files",
  voices: "Voices",
  queue: "Jobs",
  openai: "OpenAI's endpoints",
  service: "The service"
};

// ---- Fields

const isNull = schema => schema.type === "null" || schema === null;

function typeOf(schema) {
  if (schema.anyOf) return [...new Set(schema.anyOf.filter(one => !isNull(one)).map(typeOf))].join(" or ");
  const type = Array.isArray(schema.type) ? schema.type.find(one => one !== "null") : schema.type;
  if (schema.enum) return `one of ${schema.enum.filter(one => one !== null).join(", ")}`;
  if (type === "array") return schema.items.type === "object" ? "list of objects" : "list of the same";
  if (type === "object") return schema.properties ? `{${Object.keys(schema.properties).join(", ")}}` : "object";
  let text = schema.format === "binary" ? "file" :
      type === "string"                 ? "text" :
      type === "boolean"                ? "true or false" :
                                          type || "anything";
  if (schema.minimum !== undefined) text += ` from ${schema.minimum} to ${schema.maximum}`;
  if (schema.maxLength !== undefined) text += `, at most ${schema.maxLength} characters`;
  return text;
}

// [name, schema, required] as a list of definitions.
function fieldList(fields) {
  const list = make("dl");
  list.className = "fields";
  for (const [name, schema, required] of fields) {
    const term = make("dt", "", make("code", name));
    const facts = make("small", typeOf(schema));
    if (required) {
      const needed = make("span", "needed");
      needed.className = "needed";
      facts.append(" · ", needed);
    } else if (schema.default !== undefined && schema.default !== "") {
      facts.append(` · default ${JSON.stringify(schema.default)}`);
    }
    term.append(facts);
    list.append(make("div", "", term, make("dd", schema.description || "")));
  }
  return list;
}

// A long list is folded; its first line says what is in it.
function folded(title, fields) {
  const list = fieldList(fields);
  if (fields.length <= 8) return [title, list];
  const names = fields.map(([name]) => name);
  const details =
      make("details", "", make("summary", `${names.length} fields: ${names.slice(0, 6).join(", ")}, …`), list);
  details.className = "folded";
  return [title, details];
}

// ---- Requests

const samples = { id: "4b0c7d2e9f1a4c3b8d5e6f708192a3b4", name: "anna", model: "tts-1" };

// What an example sends: the description's own example, otherwise what is needed.
function request(path, method, operation, document_) {
  const contents = (operation.requestBody || { content: {} }).content;
  const type = ["application/json", "multipart/form-data"].find(one => contents[one]);
  const content = type ? contents[type] : null;
  const properties = content && content.schema.properties ? content.schema.properties : {};
  const files = Object.keys(properties).filter(name => properties[name].format === "binary");
  const good = operation.responses[200] || operation.responses[201] || { content: {} };
  const kinds = Object.keys(good.content || {});
  const speaks = kinds.some(kind => kind.startsWith("audio/"));
  const body = content ? content.example || {} : {};
  // Several items come as JSON, one may come as the audio itself.
  const many = Array.isArray(body.text);
  const accept = speaks && !many && kinds.includes("application/json") ? "audio/wav" : "";
  const format = body.response_format || (operation.operationId === "createSpeech" ? "mp3" : "wav");
  return {
    method, type, body, files, accept,
    template: path,
    path: path.replace(/\{(\w+)\}/g, (whole, name) => samples[name] || name),
    audio: speaks && !many ? `${operation.tags[0] === "audio" ? "clean" : "speech"}.${format}` : "",
    key: (operation.security || document_.security || []).length > 0,
  };
}

function exampleTabs(asked) {
  const block = make("div");
  const bar = make("div");
  bar.className = "tabs";
  const tabs = make("div"); // the copy button beside them is no tab
  tabs.className = "tablist";
  tabs.setAttribute("role", "tablist");
  tabs.setAttribute("aria-label", "Example in");
  const code = make("pre");
  code.tabIndex = 0;
  const copy = make("button", "Copy");
  copy.type = "button";
  copy.className = "copy";
  copy.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(code.textContent);
      copy.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(code);
      copy.textContent = "Selected";
    }
    setTimeout(() => { copy.textContent = "Copy"; }, 2000);
  });
  const buttons = Object.entries(examples).map(([language, write]) => {
    const button = make("button", language);
    button.type = "button";
    button.setAttribute("role", "tab");
    button.addEventListener("click", () => {
      for (const other of buttons) other.setAttribute("aria-selected", String(other === button));
      code.textContent = write(asked, location.origin);
    });
    return button;
  });
  tabs.append(...buttons);
  bar.append(tabs, copy);
  block.append(bar, code);
  buttons[0].click();
  return block;
}

// ---- Operations

function answerList(responses) {
  const list = make("ul");
  list.className = "answers";
  for (const [status, answer] of Object.entries(responses))
    list.append(make("li", "", make("code", status), ` ${answer.description}`));
  return list;
}

function describe(path, method, operation, document_) {
  const block = make("article");
  block.className = "operation";
  block.id = operation.operationId;
  const name = make("span", method.toUpperCase());
  name.className = "method";
  const anchor = make("a", "", make("code", path));
  anchor.href = `#${operation.operationId}`;
  block.append(make("h3", "", name, anchor), make("p", operation.summary));
  const parameters = operation.parameters || [];
  const query = parameters.filter(parameter => parameter.in === "query");
  const asked = request(path, method, operation, document_);
  block.append(exampleTabs(asked), tryIt(asked, parameters.map(parameter => ({
    name: parameter.name, in: parameter.in, value: parameter.in === "path" ? samples[parameter.name] || "" : "",
  }))));
  if (query.length)
    block.append(
        make("h4", "In the query"),
        fieldList(query.map(parameter => [parameter.name, parameter.schema, parameter.required])));
  for (const [type, { schema }] of Object.entries((operation.requestBody || { content: {} }).content)) {
    const title = make("h4", "", "Body: ");
    if (!schema.properties) {
      title.append(make("code", type), ", the file itself; what else there is goes into the query");
      block.append(title);
      continue;
    }
    const needed = schema.required || [];
    title.append(make("code", type));
    block.append(...folded(
        title, Object.entries(schema.properties).map(([field, one]) => [field, one, needed.includes(field)])));
    const items = schema.properties.items;
    if (items && items.items && items.items.properties) {
      block.append(...folded(
          make("h4", "", "Each of ", make("code", "items")),
          Object.entries(items.items.properties)
              .map(([field, one]) => [field, one, (items.items.required || []).includes(field)])));
    }
  }
  block.append(make("h4", "Answers"), answerList(operation.responses));
  return block;
}

// ---- Contents

function contents(sections) {
  const details = make("details", "", make("summary", "Contents"));
  details.open = !matchMedia("(max-width: 56rem)").matches;
  for (const [tag, operations] of sections) {
    const list = make("ul");
    for (const [path, method, operation] of operations) {
      const link = make("a", operation.summary.split(". ")[0]);
      link.href = `#${operation.operationId}`;
      link.title = `${method.toUpperCase()} ${path}`;
      list.append(make("li", "", link));
    }
    details.append(make("h2", titles[tag] || tag), list);
  }
  return details;
}

// Marks what is being read.
function follow(place) {
  const links = new Map([...document.querySelectorAll("#contents a")].map(link => [link.hash.slice(1), link]));
  const observer = new IntersectionObserver(entries => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      for (const link of links.values()) link.removeAttribute("aria-current");
      links.get(entry.target.id)?.setAttribute("aria-current", "true");
    }
  }, { rootMargin: "0px 0px -80% 0px" });
  for (const article of place.querySelectorAll("article")) observer.observe(article);
}

(async () => {
  const place = document.getElementById("operations");
  try {
    const document_ = await (await fetch("/openapi.json")).json();
    const sections = new Map();
    for (const [path, methods] of Object.entries(document_.paths)) {
      for (const [method, operation] of Object.entries(methods)) {
        const [tag] = operation.tags;
        if (!sections.has(tag)) sections.set(tag, []);
        sections.get(tag).push([path, method, operation]);
      }
    }
    place.replaceChildren(...[...sections].map(
        ([tag, operations]) => make(
            "section", "", make("h2", titles[tag] || tag),
            ...operations.map(([path, method, operation]) => describe(path, method, operation, document_)))));
    document.getElementById("contents").append(contents(sections));
    follow(place);
    if (location.hash) document.getElementById(location.hash.slice(1))?.scrollIntoView();
  } catch (error) {
    place.replaceChildren(make("p", `The description could not be read: ${error.message}`));
  }
  place.removeAttribute("aria-busy");
})();
