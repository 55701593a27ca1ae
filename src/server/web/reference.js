// The voice: a file or a recording that is sent, heard, cleaned, cut and kept, or a stored voice.
"use strict";

const LONGEST_SECONDS = 600; // of a recording that is sent
const CUT_SECONDS = 30;      // what is offered of a longer one

async function upload(blob, name) {
  const form = new FormData();
  form.append("file", blob, name);
  return (await call(`${API}/files/upload`, { method: "POST", body: form })).json();
}

// Nothing of an earlier recording may speak for a new one, whatever becomes of that.
function forgetReference() {
  // Words that were typed before there was any recording are for the one that comes now.
  if (state.file || state.heard || $("ref-text").readOnly) showTranscript("", "");
  state.file = state.reference = state.sound = null;
  if (state.referencePlayer) state.referencePlayer.halt();
  state.referencePlayer = null;
  $("reference-player").hidden = true;
  $("store-row").hidden = true;
  $("cut-row").hidden = true;
  $("reference-status").textContent = "";
}

// The words of a recording, who wrote them down, and whether they can be corrected here.
function showTranscript(text, note, fixed = false) {
  state.heard = text !== "" && !fixed;
  $("ref-text").value = text;
  $("ref-text").readOnly = fixed;
  $("ref-text-note").textContent = note;
}

// The server's operator may have a service for it. What is typed meanwhile is better.
async function hearWords(wav, ticket) {
  if (!state.transcribes || $("ref-text").value.trim()) return;
  $("ref-text-note").textContent = "Listening to what is said …";
  let text = "", note = "";
  try {
    const answer =
        await call(`${API}/transcribe`, { method: "POST", headers: { "Content-Type": "audio/wav" }, body: wav });
    ({ text } = await answer.json());
    note = "Written down by the server: correct what it got wrong.";
  } catch (error) {
    note = `What is said could not be written down: ${error.message} Type it, or leave it empty.`;
  }
  if (ticket !== state.ticket) return;
  if ($("ref-text").value.trim()) $("ref-text-note").textContent = "";
  else showTranscript(text, note);
}

// While a recording is on its way there is no voice to use.
function reading(change) {
  state.reading += change;
  for (const id of ["go", "enqueue", "copy", "voice-store"])
    $(id).disabled = state.reading > 0 || (id === "go" && state.abort !== null);
}

function offerCut(seconds) {
  $("cut-from").value = "0";
  $("cut-to").value = Math.min(seconds, CUT_SECONDS).toFixed(1);
  $("cut-row").hidden = false;
}

// A recording of any kind becomes 48 kHz WAV here; what the browser cannot decode goes as it is.
async function useReference(blob, name) {
  const ticket = ++state.ticket;
  showError(null);
  forgetReference();
  reading(1);
  let done = false;
  forgetSpeaker();
  $("voice").value = "";
  $("voice-delete").disabled = true;
  $("reference-status").textContent = "Reading the recording …";
  try {
    let sound = null;
    try { sound = await Sound.decode(await blob.arrayBuffer()); } catch { /* the server may know it */ }
    if (ticket !== state.ticket) return;
    state.sound = sound;
    state.name = name;
    const seconds = sound ? sound.samples.length / sound.rate : 0;
    if (seconds > LONGEST_SECONDS) {
      offerCut(seconds);
      throw new Refused(
          `This recording is ${(seconds / 60).toFixed(1)} minutes long. 3 to 30 seconds do best: choose a part below.`);
    }
    const wav = sound ? Sound.encodeWav(sound.samples, sound.rate) : blob;
    const file = await upload(wav, name.replace(/\.[^.]*$/, "") + (sound ? ".wav" : ""));
    if (ticket !== state.ticket) return;
    if (!sound) sound = await Sound.decode(await (await call(file.url)).arrayBuffer()).catch(() => null);
    state.file = file;
    state.reference = wav;
    $("store-row").hidden = false;
    $("reference-status").textContent = `${name}: ${file.duration.toFixed(1)} s`;
    done = true;
    reading(-1);
    if (!sound) {
      await hearWords(wav, ticket);
      return;
    }
    if (seconds > 3) offerCut(seconds);
    state.referencePlayer = new Sound.Player($("reference-player"), "the recording");
    state.referencePlayer.set("before", sound.samples, sound.rate);
    await Promise.all([showCleanReference(wav, ticket), hearWords(wav, ticket)]);
  } catch (error) {
    if (ticket !== state.ticket) return;
    $("reference-status").textContent = "";
    showVoiceError(error);
  } finally {
    if (!done) reading(-1);
  }
}

$("cut").addEventListener("click", () => {
  const from = Number($("cut-from").value.replace(",", ".")), to = Number($("cut-to").value.replace(",", "."));
  const { samples, rate } = state.sound;
  if (!(from >= 0 && to > from && from < samples.length / rate)) {
    showVoiceError(new Refused(
        `A part begins before it ends and lies within the recording's ${(samples.length / rate).toFixed(1)} seconds.`));
    return;
  }
  const typed = state.heard ? "" : $("ref-text").value;
  useReference(Sound.encodeWav(samples.slice(Math.floor(from * rate), Math.ceil(to * rate)), rate), state.name);
  $("ref-text").value = typed;
});

async function showCleanReference(wav, ticket) {
  if (!$("pre").checked) return;
  $("reference-status").textContent += ", cleaning …";
  try {
    const answer = await call(`${API}/enhance`, {method: "POST", headers: {"Content-Type": "audio/wav"}, body: wav});
    const clean = await Sound.decode(await answer.arrayBuffer());
    if (ticket === state.ticket) {
      const at = state.referencePlayer.position;
      state.referencePlayer.set("after", clean.samples, clean.rate);
      state.referencePlayer.seek(at);
    }
  } finally {
    if (ticket === state.ticket)
      $("reference-status").textContent = $("reference-status").textContent.replace(", cleaning …", "");
  }
}

$("file").addEventListener("change", () => {
  const [file] = $("file").files;
  if (file) useReference(file, file.name);
});
for (const kind of ["dragenter", "dragover"]) {
  $("drop").addEventListener(kind, event => { event.preventDefault(); $("drop").classList.add("over"); });
}
for (const kind of ["dragleave", "drop"]) {
  $("drop").addEventListener(kind, event => { event.preventDefault(); $("drop").classList.remove("over"); });
}
$("drop").addEventListener("drop", event => {
  const [file] = event.dataTransfer.files;
  if (file) useReference(file, file.name);
});

// ---- Recording

async function startRecording() {
  if (!navigator.mediaDevices) {
    throw new Refused("The browser gives the microphone only to pages from localhost or over HTTPS.");
  }
  const stream = await navigator.mediaDevices.getUserMedia({
    audio: { channelCount: 1, echoCancellation: false, noiseSuppression: false, autoGainControl: false },
  });
  const chunks = [];
  const recorder = new MediaRecorder(stream);
  const context = Sound.audioContext();
  const analyser = context.createAnalyser();
  const samples = new Float32Array(analyser.fftSize);
  const began = performance.now();
  context.resume();
  context.createMediaStreamSource(stream).connect(analyser);
  recorder.addEventListener("dataavailable", event => chunks.push(event.data));
  recorder.addEventListener("stop", () => {
    stream.getTracks().forEach(track => track.stop());
    state.recorder = null;
    $("level").value = 0;
    $("record").textContent = "Record";
    $("record").setAttribute("aria-pressed", "false");
    useReference(new Blob(chunks, { type: recorder.mimeType }), "recording");
  });
  const watch = () => {
    if (!state.recorder) return;
    analyser.getFloatTimeDomainData(samples);
    $("level").value = samples.reduce((most, sample) => Math.max(most, Math.abs(sample)), 0);
    const seconds = (performance.now() - began) / 1000;
    $("record-hint").textContent = `${seconds.toFixed(0)} s` +
        (seconds < 3      ? ", go on: at least 3" :
             seconds > 25 ? ", enough" :
                            ", good");
    if (seconds >= 30) recorder.stop(); else requestAnimationFrame(watch);
  };
  recorder.start();
  state.recorder = recorder;
  $("record").textContent = "Stop recording";
  $("record").setAttribute("aria-pressed", "true");
  watch();
}

$("record").addEventListener("click", async () => {
  showError(null);
  try {
    if (state.recorder) state.recorder.stop(); else await startRecording();
  } catch (error) {
    const denied = error.name === "NotAllowedError" ?
        "The browser was not allowed to use the microphone. Allow it beside the page's address, or choose a file." :
        `The microphone could not be used: ${error.message}`;
    showVoiceError(error instanceof Refused ? error : new Refused(denied));
  }
});

// ---- Stored voices

async function loadVoices(selected) {
  const { voices } = await (await call(`${API}/voices`)).json();
  $("voice").replaceChildren(
      new Option("none", ""),
      ...voices.map(voice => new Option(`${voice.name} (${voice.duration.toFixed(0)} s)`, voice.name)));
  $("voice").value = selected || "";
  $("voice-delete").disabled = !$("voice").value;
}

$("voice").addEventListener("change", async () => {
  const name = $("voice").value;
  const ticket = ++state.ticket;
  $("voice-delete").disabled = !name;
  if (name) forgetSpeaker();
  showError(null);
  forgetReference();
  if (!name) return;
  try {
    const sound =
        await Sound.decode(await (await call(`${API}/voices/${encodeURIComponent(name)}/audio`)).arrayBuffer());
    if (ticket !== state.ticket) return;
    state.referencePlayer = new Sound.Player($("reference-player"), `the voice ${name}`);
    state.referencePlayer.set("before", sound.samples, sound.rate);
    const voice = await (await call(`${API}/voices/${encodeURIComponent(name)}`)).json();
    if (ticket !== state.ticket) return;
    const words = voice.ref_text || (voice.reference && voice.reference.transcript) || "";
    showTranscript(words, words ? "Kept with this voice." : "This voice is kept without a transcript.", true);
  } catch (error) {
    showVoiceError(error);
  }
});

$("voice-store").addEventListener("click", async () => {
  showError(null);
  const body = {
    name: $("voice-name").value.trim(),
    ref_audio: state.file.id,
    ref_text: $("ref-text").value || null,
    run_pre_processing: $("pre").checked
  };
  try {
    await call(
        `${API}/voices`, {method: "POST", headers: {"Content-Type": "application/json"}, body: JSON.stringify(body)});
    await loadVoices(body.name);
    state.file = state.reference = null; // from here on the stored voice speaks
    $("store-row").hidden = true;
    $("cut-row").hidden = true;
    $("reference-status").textContent = `Kept as ${body.name}, and chosen.`;
    showTranscript(body.ref_text || "", "Kept with this voice.", true);
  } catch (error) {
    showVoiceError(error);
  }
});

$("voice-delete").addEventListener("click", async () => {
  const name = $("voice").value;
  if (!name || !confirm(`Remove the voice ${name}?`)) return;
  try {
    await call(`${API}/voices/${encodeURIComponent(name)}`, { method: "DELETE" });
    await loadVoices();
    forgetReference();
  } catch (error) {
    showVoiceError(error);
  }
});
