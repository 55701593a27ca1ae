// Jobs that are spoken later.
"use strict";

$("enqueue").addEventListener("click", async () => {
  showError(null);
  try {
    const fields = requestFields();
    await call(`${API}/queue/submit`, { method: "POST", headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ items: [fields], label: shorten(fields.text, 60) }) });
    await loadQueue();
  } catch (error) {
    showError(error, error instanceof NoVoice ? "voice-error" : "error");
  }
});

// At most `most` characters, and it can be seen that there were more.
function shorten(text, most) {
  const letters = [...text];
  return letters.length <= most ? text : letters.slice(0, most - 1).join("") + "…";
}

function jobRow(job) {
  const row = document.createElement("tr");
  const cell = (text, label) => {
    const made = document.createElement("td");
    made.textContent = text;
    if (label) made.dataset.label = label;
    row.append(made);
    return made;
  };
  cell(job.label || job.id.slice(0, 8), "Job");
  cell(job.state + (job.failed ? `, ${job.failed} failed` : ""), "State");
  cell(`${job.done} of ${job.total}`, "Done");
  const actions = document.createElement("div");
  actions.className = "row";
  if (job.done) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = "Download";
    button.addEventListener("click", () => downloadJob(job).catch(showQueueError));
    actions.append(button);
  }
  const remove = document.createElement("button");
  remove.type = "button";
  remove.textContent = job.state === "finished" ? "Remove" : "Cancel";
  remove.addEventListener("click", async () => {
    try {
      await call(`${API}/queue/${job.id}`, {method: "DELETE"});
      await loadQueue();
    } catch (error) {
      showQueueError(error);
    }
  });
  actions.append(remove);
  cell("").append(actions);
  return row;
}

async function downloadJob(job) {
  const { items } = await (await call(`${API}/queue/results/${job.id}?audio=url`)).json();
  for (const item of items.filter(entry => entry.url)) {
    const blob = await (await call(item.url)).blob();
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = `${job.label || "speech"}.${
        {"audio/flac": "flac", "audio/mpeg": "mp3", "audio/ogg": "ogg"}[blob.type.split(";")[0]] || "wav"}`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  }
}

let queueTimer = null;
async function loadQueue() {
  clearTimeout(queueTimer);
  const { jobs } = await (await call(`${API}/queue`)).json();
  $("queue").hidden = jobs.length === 0;
  $("queue-empty").hidden = jobs.length > 0;
  $("queue").tBodies[0].replaceChildren(...jobs.slice(0, 20).map(jobRow));
  if (jobs.some(job => job.state !== "finished"))
    queueTimer = setTimeout(() => loadQueue().catch(showQueueError), 1500);
}
