// Voices of the models: built-in speakers, and one that is described.
"use strict";

const DESCRIBED = "described";

// Built-in speakers, and a voice that is described, if there are models for them.
async function loadOwnVoices() {
  const { data } = await (await call("/v1/models")).json();
  const models = data.filter(model => model.kind);
  state.own = models.flatMap(model => model.speakers.map(
      speaker => ({ speaker: speaker.name, model: model.id, follows: model.follows_instruct })));
  const several = new Set(state.own.map(own => own.model)).size > 1;
  const options = state.own.map(
      (own, index) => new Option(several ? `${own.speaker} (${own.model})` : own.speaker, index));
  if (models.some(model => model.designs)) options.push(new Option("one that I describe", DESCRIBED));
  $("speaker").replaceChildren(new Option("none", ""), ...options);
  $("own-row").hidden = options.length === 0;
  showInstruct();
}

const chosenSpeaker = () => state.own[$("speaker").value];

function showInstruct() {
  const described = $("speaker").value === DESCRIBED;
  const follows = Boolean(chosenSpeaker() && chosenSpeaker().follows);
  $("instruct-row").hidden = !described && !follows;
  $("instruct-label").textContent =
      described ? "What the voice is like" : "How to speak (may stay empty)";
}

// One voice at a time: choosing a recording or a stored voice takes this one back.
function forgetSpeaker() {
  $("speaker").value = "";
  showInstruct();
}

$("speaker").addEventListener("change", () => {
  state.ticket++;
  showError(null);
  forgetReference();
  $("voice").value = "";
  $("voice-delete").disabled = true;
  showInstruct();
});

// The fields of a voice of the model's own, or null.
function ownVoice() {
  const instruct = $("instruct").value.trim();
  if ($("speaker").value === DESCRIBED) {
    if (!instruct) throw new NoVoice("The voice is not described yet.");
    return { instruct };
  }
  const own = chosenSpeaker();
  if (!own) return null;
  return { speaker: own.speaker, model: own.model, ...(own.follows && instruct ? { instruct } : {}) };
}

const routeOf = fields => API +
    ("speaker" in fields ? "/custom-voice" : "instruct" in fields ? "/voice-design" : "/voice-clone-enhanced");
