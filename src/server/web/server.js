// Talking to the server, and saying what went wrong where it can be seen.
"use strict";

const $ = id => document.getElementById(id);
const API = "/api/v1";
const ERRORS = ["voice-error", "error", "queue-error", "pull-error"];
// What the parts of the page share.
const state = {
  reference: null,
  file: null,
  sound: null,
  name: "",
  reading: 0,
  referencePlayer: null,
  resultPlayer: null,
  abort: null,
  recorder: null,
  ticket: 0,
  spoken: null,
  transcribes: false, // whether the server writes transcripts
  heard: false,       // it wrote the one that is shown
  own: []             // voices of the models
};

function headers(extra) {
  const key = sessionStorage.getItem("timbre-key");
  return key ? { ...extra, "x-api-key": key } : { ...extra };
}

class Refused extends Error {}
class NoVoice extends Refused {}

async function call(path, options = {}) {
  let response;
  try {
    response = await fetch(path, { ...options, headers: headers(options.headers) });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused("The server cannot be reached.");
  }
  if (response.ok) return response;
  let detail = `${response.status} ${response.statusText}`;
  try { detail = (await response.json()).detail || detail; } catch { /* not JSON: the status says it */ }
  if (response.status === 401)
    askForKey(sessionStorage.getItem("timbre-key") ? "This key is not accepted. " + detail : "");
  throw new Refused(detail);
}

// Says what went wrong beside what it concerns, where it can be seen; null takes all such messages back.
function showError(error, place = "error") {
  if (error && error.name === "AbortError") return;
  for (const id of ERRORS) {
    $(id).textContent =
        error && id === place ? (error instanceof Refused ? error.message : `${error.name}: ${error.message}`) : "";
    $(id).hidden = !(error && id === place);
  }
  if (error && !$("key-dialog").open) $(place).scrollIntoView({ block: "center" });
}

const showVoiceError = error => showError(error, "voice-error");
const showQueueError = error => showError(error, "queue-error");

function askForKey(problem = "") {
  $("key-button").hidden = false;
  $("key-error").textContent = problem;
  $("key-error").hidden = !problem;
  $("key").value = sessionStorage.getItem("timbre-key") || "";
  if (!$("key-dialog").open) $("key-dialog").showModal();
}

$("key-button").addEventListener("click", () => askForKey());
$("key-dialog").addEventListener("close", () => {
  if ($("key-dialog").returnValue !== "ok") return;
  sessionStorage.setItem("timbre-key", $("key").value);
  showError(null);
  refresh();
});
