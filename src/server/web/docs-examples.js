// What a request to an operation looks like in curl, Python and JavaScript. An operation is described by
// { method, path, type, body, query, files, audio, key }: see request() in docs.js.
"use strict";

const examples = (() => {
  const shell = text => `'${text.replace(/'/g, "'\\''")}'`;
  const json = value => JSON.stringify(value);
  const pretty = (value, indent) => JSON.stringify(value, null, 2).replace(/\n/g, `\n${indent}`);

  // Where the answer goes: audio into a file, everything else to the terminal.
  const isFile = request => Boolean(request.audio);

  function curl(request, origin) {
    const lines = [`curl "${origin}${request.path}"`];
    if (request.method === "delete") lines[0] = `curl -X DELETE "${origin}${request.path}"`;
    if (request.key) lines.push("-H \"x-api-key: $TIMBRE_KEY\"");
    if (request.accept) lines.push(`-H ${shell(`Accept: ${request.accept}`)}`);
    if (request.type === "application/json") {
      lines.push("-H 'Content-Type: application/json'", `-d ${shell(json(request.body))}`);
    } else if (request.type === "multipart/form-data") {
      for (const [name, value] of Object.entries(request.body)) {
        lines.push(request.files.includes(name) ? `-F ${name}=@${value}` : `-F ${name}=${shell(String(value))}`);
      }
    }
    if (isFile(request)) lines.push(`-o ${request.audio}`);
    return lines.join(" \\\n  ");
  }

  function python(request, origin) {
    const call = [`"${origin}${request.path}"`];
    const headers = [];
    if (request.key) headers.push("\"x-api-key\": os.environ[\"TIMBRE_KEY\"]");
    if (request.accept) headers.push(`"Accept": "${request.accept}"`);
    if (headers.length) call.push(`headers={${headers.join(", ")}}`);
    // JSON and Python agree on everything that an example has but these words.
    const literal = value =>
        json(value).replace(/\btrue\b/g, "True").replace(/\bfalse\b/g, "False").replace(/\bnull\b/g, "None");
    if (request.type === "application/json") call.push(`json=${literal(request.body)}`);
    if (request.type === "multipart/form-data") {
      const texts = Object.entries(request.body).filter(([name]) => !request.files.includes(name));
      if (texts.length) call.push(`data=${literal(Object.fromEntries(texts))}`);
      call.push(`files={${
          request.files.filter(name => name in request.body)
              .map(name => `"${name}": open("${request.body[name]}", "rb")`)
              .join(", ")}}`);
    }
    const lines = [request.key ? "import os\n\nimport requests" : "import requests", "",
      `answer = requests.${request.method}(\n    ${call.join(",\n    ")},\n)`, "answer.raise_for_status()"];
    lines.push(
        isFile(request) ? `open("${request.audio}", "wb").write(answer.content)` :
            request.method === "delete" ? "" :
                                          "print(answer.json())");
    return lines.join("\n").trimEnd();
  }

  function javascript(request, origin) {
    const lines = [];
    const options = [];
    if (request.method !== "get") options.push(`method: "${request.method.toUpperCase()}"`);
    const headers = [];
    if (request.key) headers.push("\"x-api-key\": key");
    if (request.accept) headers.push(`Accept: "${request.accept}"`);
    if (request.type === "application/json") headers.push("\"Content-Type\": \"application/json\"");
    if (headers.length) options.push(`headers: { ${headers.join(", ")} }`);
    if (request.type === "application/json") options.push(`body: JSON.stringify(${pretty(request.body, "  ")})`);
    if (request.type === "multipart/form-data") {
      lines.push("const form = new FormData();");
      for (const [name, value] of Object.entries(request.body)) {
        lines.push(
            request.files.includes(name) ? `form.append("${name}", fileInput.files[0]);` :
                                           `form.append("${name}", ${json(String(value))});`);
      }
      options.push("body: form");
    }
    lines.push(
        options.length ? `const answer = await fetch("${origin}${request.path}", {\n  ${options.join(",\n  ")},\n});` :
                         `const answer = await fetch("${origin}${request.path}");`);
    lines.push("if (!answer.ok) throw new Error(await answer.text());");
    if (isFile(request)) lines.push("new Audio(URL.createObjectURL(await answer.blob())).play();");
    else if (request.method !== "delete") lines.push("console.log(await answer.json());");
    return lines.join("\n");
  }

  return { curl, Python: python, JavaScript: javascript };
})();
