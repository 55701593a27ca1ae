// What was spoken since the page was opened, to be heard and fetched again.
"use strict";

const VISIT_MOST = 20; // each holds its sound

const visit = [];

function visitItem(entry) {
  const item = document.createElement("li");
  const text = document.createElement("p");
  text.textContent = shorten(entry.text, 200);
  const facts = document.createElement("p");
  facts.className = "facts";
  facts.textContent = `${entry.voice}, ${entry.seconds.toFixed(1)} s, number ${entry.seed}`;
  const audio = document.createElement("audio");
  audio.controls = true;
  audio.preload = "none";
  audio.src = entry.url;
  audio.setAttribute("aria-label", `Speech: ${shorten(entry.text, 60)}`);
  const actions = document.createElement("div");
  actions.className = "row";
  const link = document.createElement("a");
  link.className = "button";
  link.href = entry.url;
  link.download = "speech.wav";
  link.textContent = "Download";
  const again = document.createElement("button");
  again.type = "button";
  again.textContent = "Use this text again";
  again.addEventListener("click", () => {
    $("text").value = entry.text;
    $("seed").value = entry.seed;
    count();
    $("text").focus();
    $("text").scrollIntoView({ block: "center" });
  });
  actions.append(link, again);
  item.append(text, facts, audio, actions);
  return item;
}

function rememberSpeech(fields, voice, { result, samples, rate }) {
  visit.unshift({ text: fields.text, voice, seconds: result.duration, seed: result.seed,
    url: URL.createObjectURL(Sound.encodeWav(samples, rate)) });
  while (visit.length > VISIT_MOST) URL.revokeObjectURL(visit.pop().url);
  $("visit-list").replaceChildren(...visit.map(visitItem));
  $("visit").hidden = false;
}
