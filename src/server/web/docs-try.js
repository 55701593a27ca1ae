// The form that sends an operation's request from the page and shows what comes back.
"use strict";

const tryIt = (() => {
  const keyName = "timbre-key";

  function field(label, input) {
    const element = document.createElement("label");
    element.append(label, input);
    return element;
  }

  function input(type, value = "") {
    const element = document.createElement("input");
    element.type = type;
    if (value) element.value = value;
    return element;
  }

  async function show(answer, place) {
    const type = answer.headers.get("Content-Type") || "";
    const line = document.createElement("p");
    line.textContent = `${answer.status} ${answer.statusText} · ${type || "no body"}`;
    const told =
        ["X-Engine", "X-Is-Clone", "X-Seed", "X-Ignored", "X-Request-Id"].filter(name => answer.headers.get(name));
    const heads = document.createElement("small");
    heads.append(...told.flatMap((name, number) => {
      const head = document.createElement("span");
      head.textContent = `${name}: ${answer.headers.get(name)}`;
      return number ? [" · ", head] : [head];
    }));
    place.replaceChildren(line, heads);
    if (answer.ok && type.startsWith("audio/")) {
      const player = document.createElement("audio");
      player.controls = true;
      player.src = URL.createObjectURL(await answer.blob());
      place.append(player);
      return;
    }
    const text = await answer.text();
    if (!text) return;
    const block = document.createElement("pre");
    block.className = "wrapped";
    let shown = text;
    try {
      // Audio in base64 says nothing to people.
      shown = JSON.stringify(
          JSON.parse(
              text,
              (name, value) =>
                  (typeof value === "string" && value.length > 400 ?
                       `${value.slice(0, 60)}… (${value.length} characters)` :
                       value)),
          null, 2);
    } catch { /* not JSON */ }
    block.textContent = shown.length > 20000 ? `${shown.slice(0, 20000)}…` : shown;
    block.tabIndex = 0;
    place.append(block);
  }

  // `request` as in docs.js, `parameters` [{ name, in, value }].
  function create(request, parameters) {
    const details = document.createElement("details");
    details.className = "try";
    const summary = document.createElement("summary");
    summary.textContent = "Try it";
    const form = document.createElement("form");
    const result = document.createElement("div");
    result.setAttribute("aria-live", "polite");
    const key = request.key ? input("password", sessionStorage.getItem(keyName) || "") : null;
    if (key) {
      key.autocomplete = "off";
      form.append(field("API key", key));
    }
    const places = parameters.map(parameter => {
      const element = input("text", parameter.value);
      form.append(
          field(`${parameter.name} (${parameter.in === "path" ? "in the path" : "query, may be empty"})`, element));
      return { ...parameter, element };
    });
    const accept = request.accept ? input("text", request.accept) : null;
    if (accept) form.append(field("Accept", accept));
    let body = null;
    const parts = [];
    if (request.type === "application/json") {
      body = document.createElement("textarea");
      body.value = JSON.stringify(request.body, null, 2);
      body.rows = Math.min(14, body.value.split("\n").length + 1);
      body.spellcheck = false;
      form.append(field("Body", body));
    } else if (request.type === "multipart/form-data") {
      for (const [name, value] of Object.entries(request.body)) {
        const element = request.files.includes(name) ? input("file") : input("text", String(value));
        parts.push([name, element]);
        form.append(field(name, element));
      }
    }
    const send = document.createElement("button");
    send.className = "main";
    send.textContent = "Send";
    form.append(send, result);
    form.addEventListener("submit", async event => {
      event.preventDefault();
      send.disabled = true;
      result.textContent = "…";
      let path = request.template;
      const query = new URLSearchParams();
      for (const { name, element, in: where } of places) {
        if (where === "path") path = path.replace(`{${name}}`, encodeURIComponent(element.value));
        else if (element.value) query.set(name, element.value);
      }
      const options = { method: request.method.toUpperCase(), headers: {} };
      if (key && key.value) {
        options.headers["x-api-key"] = key.value;
        sessionStorage.setItem(keyName, key.value);
      }
      if (accept && accept.value) options.headers.Accept = accept.value;
      if (body) {
        options.headers["Content-Type"] = "application/json";
        options.body = body.value;
      } else if (request.type === "multipart/form-data") {
        options.body = new FormData();
        for (const [name, element] of parts) {
          const value = element.type === "file" ? element.files[0] : element.value;
          if (value) options.body.append(name, value);
        }
      }
      try {
        await show(await fetch(path + (query.size ? `?${query}` : ""), options), result);
      } catch (error) {
        const line = document.createElement("p");
        line.className = "error";
        line.textContent = `The server could not be asked: ${error.message}`;
        result.replaceChildren(line);
      }
      send.disabled = false;
    });
    details.append(summary, form);
    return details;
  }

  return create;
})();
