// The page begins: who speaks, which voices there are, what is in the queue.
"use strict";

async function refresh() {
  try {
    const ready = await (await call("/health/ready")).json();
    const whose = ready.is_clone === false ? ": a voice of its own speaks, not yours" : "";
    $("server").textContent = ready.engine === "queue" ? "workers behind a queue" : `${ready.model}${whose}`;
    state.transcribes = ready.transcribes;
    if (ready.is_clone === false) await loadModels();
    await loadVoices();
    await loadOwnVoices();
    await loadQueue();
  } catch (error) {
    showError(error);
  }
}

count();
refresh();
