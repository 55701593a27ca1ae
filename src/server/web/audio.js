// Audio in the page: decoding, WAV, spectrograms, a player that switches between two sounds.
"use strict";

const Sound = (() => {
  let context = null;
  // Made at the first use: browsers want a gesture before sound.
  function audioContext() {
    context = context || new AudioContext({ sampleRate: 48000 });
    return context;
  }

  // Whatever the browser can decode, as mono samples at 48 kHz.
  async function decode(bytes) {
    const offline = new OfflineAudioContext(1, 1, 48000);
    const buffer = await offline.decodeAudioData(bytes);
    const mono = new Float32Array(buffer.length);
    for (let channel = 0; channel < buffer.numberOfChannels; channel++) {
      const samples = buffer.getChannelData(channel);
      for (let i = 0; i < samples.length; i++) mono[i] += samples[i] / buffer.numberOfChannels;
    }
    return { samples: mono, rate: buffer.sampleRate };
  }

  // 16-bit mono WAV.
  function encodeWav(samples, rate) {
    const view = new DataView(new ArrayBuffer(44 + samples.length * 2));
    const text = (at, value) => { for (let i = 0; i < value.length; i++) view.setUint8(at + i, value.charCodeAt(i)); };
    text(0, "RIFF"); view.setUint32(4, 36 + samples.length * 2, true); text(8, "WAVEfmt ");
    view.setUint32(16, 16, true); view.setUint16(20, 1, true); view.setUint16(22, 1, true);
    view.setUint32(24, rate, true);
    view.setUint32(28, rate * 2, true);
    view.setUint16(32, 2, true);
    view.setUint16(34, 16, true);
    text(36, "data"); view.setUint32(40, samples.length * 2, true);
    for (let i = 0; i < samples.length; i++) {
      view.setInt16(44 + 2 * i, Math.max(-32768, Math.min(32767, Math.round(samples[i] * 32768))), true);
    }
    return new Blob([view], { type: "audio/wav" });
  }

  function fft(real, imaginary) {
    const n = real.length;
    for (let i = 1, j = 0; i < n; i++) {
      let bit = n >> 1;
      for (; j & bit; bit >>= 1) j ^= bit;
      j ^= bit;
      if (i < j) {
        [real[i], real[j]] = [real[j], real[i]];
        [imaginary[i], imaginary[j]] = [imaginary[j], imaginary[i]];
      }
    }
    for (let size = 2; size <= n; size <<= 1) {
      const step = -2 * Math.PI / size;
      for (let start = 0; start < n; start += size) {
        for (let k = 0; k < size / 2; k++) {
          const c = Math.cos(step * k), s = Math.sin(step * k);
          const a = start + k, b = a + size / 2;
          const re = real[b] * c - imaginary[b] * s, im = real[b] * s + imaginary[b] * c;
          real[b] = real[a] - re; imaginary[b] = imaginary[a] - im;
          real[a] += re; imaginary[a] += im;
        }
      }
    }
  }

  // The colours of the command's pictures, for 0 (nothing) to 1 (the loudest).
  const STOPS = [
    [0, 5, 5, 16], [0.2, 36, 20, 84], [0.4, 110, 30, 120], [0.6, 192, 58, 100], [0.8, 244, 134, 74], [1, 253, 240, 190]
  ];
  function color(level) {
    const x = Math.max(0, Math.min(1, level));
    let k = 0;
    while (k + 2 < STOPS.length && x > STOPS[k + 1][0]) k++;
    const f = Math.max(0, Math.min(1, (x - STOPS[k][0]) / (STOPS[k + 1][0] - STOPS[k][0])));
    return [1, 2, 3].map(i => STOPS[k][i] + f * (STOPS[k + 1][i] - STOPS[k][i]));
  }

  const RANGE_DB = 80; // below the loudest point
  const MARGIN = { left: 44, bottom: 22, top: 6, right: 6 }; // in the page's pixels, of which a picture has these:
  const PICTURE_HEIGHT = 180;

  // The power of each column and frequency bin, in dB.
  function analyse(samples, rate, seconds, width) {
    const size = 1024;
    const window = Float32Array.from({ length: size }, (_, i) => 0.5 - 0.5 * Math.cos(2 * Math.PI * i / size));
    const real = new Float32Array(size), imaginary = new Float32Array(size);
    const columns = [];
    for (let x = 0; x < width; x++) {
      const start = Math.floor(x / width * seconds * rate - size / 2);
      for (let i = 0; i < size; i++) {
        real[i] = (samples[start + i] || 0) * window[i];
        imaginary[i] = 0;
      }
      fft(real, imaginary);
      columns.push(Float32Array.from({ length: size / 2 }, (_, bin) =>
        10 * Math.log10((real[bin] * real[bin] + imaginary[bin] * imaginary[bin]) / (size * size / 16) + 1e-12)));
    }
    return columns;
  }

  // Time to the right, frequency upwards to half the rate, with the axes' figures; `loudest` in dB is the brightest.
  function drawSpectrogram(canvas, columns, rate, seconds, loudest) {
    const drawing = canvas.getContext("2d");
    const dots = canvas.height / PICTURE_HEIGHT; // of the screen, for one of the page
    const left = Math.round(MARGIN.left * dots), top = Math.round(MARGIN.top * dots);
    const width = canvas.width - left - Math.round(MARGIN.right * dots);
    const height = canvas.height - top - Math.round(MARGIN.bottom * dots);
    const image = drawing.createImageData(width, height);
    for (let x = 0; x < width; x++) {
      const column = columns[Math.floor(x / width * columns.length)];
      for (let y = 0; y < height; y++) {
        const power = column[Math.floor((1 - (y + 1) / height) * column.length)];
        const [r, g, b] = color((power - loudest + RANGE_DB) / RANGE_DB);
        image.data.set([r, g, b, 255], 4 * (y * width + x));
      }
    }
    drawing.clearRect(0, 0, canvas.width, canvas.height);
    drawing.putImageData(image, left, top);
    drawing.fillStyle = getComputedStyle(document.body).color;
    drawing.font = `${12 * dots}px system-ui, sans-serif`;
    drawing.textAlign = "right";
    drawing.textBaseline = "middle";
    for (let khz = 0; khz <= rate / 2000; khz += rate > 30000 ? 8 : 4) {
      const y = top + height * (1 - khz / (rate / 2000));
      const text = `${khz}${khz === 0 ? " kHz" : ""}`;
      drawing.fillText(text, left - 4 * dots, Math.min(Math.max(y, 8 * dots), top + height - 4 * dots));
    }
    drawing.textAlign = "center";
    drawing.textBaseline = "top";
    const most = Math.max(2, Math.min(8, width / dots / 45)); // figures that find room
    const step = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 60, 120].find(one => seconds / one <= most) || 300;
    for (let t = 0; t <= seconds; t += step) {
      const x = left + width * t / seconds;
      drawing.fillText(
          `${+ t.toFixed(1)}${t === 0 ? " s" : ""}`, Math.min(x, canvas.width - 12 * dots), top + height + 4 * dots);
    }
  }

  // Pictures are drawn for the screen's dots and in the page's colours: again when either is another.
  function drawAll(place) {
    for (const canvas of place.querySelectorAll("canvas")) if (canvas.draw) canvas.draw();
  }
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawAll(document));
  addEventListener("resize", () => drawAll(document));

  const rms = samples => {
    let sum = 0;
    for (let i = 0; i < samples.length; i++) sum += samples[i] * samples[i];
    return Math.sqrt(sum / Math.max(1, samples.length));
  };

  const clock = seconds => `${Math.floor(seconds / 60)}:${(seconds % 60).toFixed(1).padStart(4, "0")}`;

  // A player for one sound, or for two at the same position and the same loudness.
  class Player {
    constructor(place, name) {
      this.place = place; this.name = name; this.sides = []; this.side = 0; this.position = 0; this.source = null;
      place.textContent = "";
      this.panels = document.createElement("div");
      this.panels.className = "panels";
      const controls = document.createElement("div");
      controls.className = "controls";
      this.play = document.createElement("button");
      this.play.type = "button"; this.play.textContent = "Play"; this.play.dataset.role = "play";
      this.play.setAttribute("aria-label", `Play ${name}`);
      this.buttons = document.createElement("span");
      this.buttons.className = "sides";
      this.buttons.setAttribute("role", "group");
      this.buttons.setAttribute("aria-label", "Compare");
      this.slider = document.createElement("input");
      this.slider.type = "range"; this.slider.min = 0; this.slider.step = 0.01; this.slider.value = 0;
      this.slider.setAttribute("aria-label", `Position in ${name}`);
      this.time = document.createElement("output");
      controls.append(this.play, this.buttons, this.slider, this.time);
      place.append(this.panels, controls);
      place.hidden = false;
      this.play.addEventListener("click", () => this.toggle());
      this.slider.addEventListener("input", () => this.seek(+this.slider.value));
    }

    get seconds() { return Math.max(0, ...this.sides.map(side => side.samples.length / side.rate)); }

    // Adds or replaces the sound called `label`.
    set(label, samples, rate) {
      const side = { label, samples, rate };
      const index = this.sides.findIndex(other => other.label === label);
      if (index < 0) this.sides.push(side); else this.sides[index] = side;
      this.sides.sort(
          (one, other) => ["before", "after"].indexOf(one.label) - ["before", "after"].indexOf(other.label));
      // Equal loudness: what is louder only seems better.
      const levels = this.sides.map(other => rms(other.samples) || 1);
      this.sides.forEach((other, i) => { other.gain = Math.min(...levels) / levels[i]; });
      side.columns = analyse(samples, rate, samples.length / rate, 400);
      this.drawPanels();
      this.buttons.textContent = "";
      this.sides.forEach((other, i) => {
        const button = document.createElement("button");
        button.type = "button"; button.textContent = other.label; button.dataset.side = other.label;
        button.addEventListener("click", () => this.choose(i));
        this.buttons.append(button);
      });
      this.choose(this.sides.indexOf(side));
    }

    choose(index) {
      const playing = this.source !== null;
      this.halt();
      this.side = index;
      [...this.buttons.children].forEach((button, i) => button.setAttribute("aria-pressed", i === index));
      [...this.panels.children].forEach((figure, i) => { figure.dataset.chosen = i === index; });
      this.slider.max = this.seconds;
      this.show();
      if (playing) this.start();
    }

    // Each sound's picture, side by side and with one scale of loudness, so that they can be compared.
    drawPanels() {
      let loudest = -120;
      for (const side of this.sides)
        for (const column of side.columns)
          for (const power of column) loudest = Math.max(loudest, power);
      this.panels.replaceChildren(...this.sides.map((side, i) => {
        const figure = document.createElement("figure"), canvas = document.createElement("canvas");
        const caption = document.createElement("figcaption");
        const seconds = side.samples.length / side.rate;
        canvas.setAttribute("role", "img");
        canvas.setAttribute("aria-label", `Spectrogram of ${this.name}, ${side.label}, ${seconds.toFixed(1)} seconds`);
        caption.textContent = this.sides.length > 1 ? `${side.label} cleaning` : "";
        canvas.draw = () => {
          canvas.width = Math.round((canvas.clientWidth || 640) * devicePixelRatio);
          canvas.height = Math.round(PICTURE_HEIGHT * devicePixelRatio);
          drawSpectrogram(canvas, side.columns, side.rate, seconds, loudest);
        };
        canvas.addEventListener("pointerdown", event => {
          const box = canvas.getBoundingClientRect();
          if (this.side !== i) this.choose(i);
          this.seek((event.clientX - box.left - MARGIN.left) / (box.width - MARGIN.left - MARGIN.right) * seconds);
        });
        figure.append(canvas, caption);
        return figure;
      }));
      drawAll(this.panels); // once they have their width
    }

    show() {
      this.slider.value = this.position;
      this.time.textContent = `${clock(this.position)} / ${clock(this.seconds)}`;
    }

    toggle() { if (this.source) this.halt(); else this.start(); }

    start() {
      const side = this.sides[this.side];
      const output = audioContext();
      output.resume();
      if (this.position >= side.samples.length / side.rate - 0.02) this.position = 0;
      const buffer = output.createBuffer(1, Math.max(1, side.samples.length), side.rate);
      buffer.copyToChannel(side.samples, 0);
      const gain = output.createGain();
      gain.gain.value = side.gain;
      const source = output.createBufferSource();
      source.buffer = buffer;
      source.connect(gain).connect(output.destination);
      const began = output.currentTime - this.position;
      source.onended = () => { if (this.source === source) { this.position = 0; this.halt(); } };
      source.start(0, this.position);
      this.source = source;
      this.play.textContent = "Pause";
      const follow = () => {
        if (this.source !== source) return;
        this.position = Math.min(output.currentTime - began, this.seconds);
        this.show();
        requestAnimationFrame(follow);
      };
      follow();
    }

    halt() {
      const source = this.source;
      this.source = null;
      if (source) source.stop();
      this.play.textContent = "Play";
      this.show();
    }

    seek(seconds) {
      const playing = this.source !== null;
      this.halt();
      this.position = Math.max(0, Math.min(seconds, this.seconds));
      this.show();
      if (playing) this.start();
    }
  }

  // Plays 16-bit blocks one after the other, as they come.
  class LiveOutput {
    constructor(rate) { this.rate = rate; this.next = 0; this.sources = new Set(); }
    push(samples) {
      const output = audioContext();
      output.resume();
      const buffer = output.createBuffer(1, samples.length, this.rate);
      buffer.copyToChannel(samples, 0);
      const source = output.createBufferSource();
      source.buffer = buffer;
      source.connect(output.destination);
      this.next = Math.max(this.next, output.currentTime + 0.15);
      source.start(this.next);
      this.next += samples.length / this.rate;
      this.sources.add(source);
      source.onended = () => this.sources.delete(source);
    }
    stop() { this.sources.forEach(source => source.stop()); this.sources.clear(); }
  }

  return { decode, encodeWav, Player, LiveOutput, audioContext };
})();
