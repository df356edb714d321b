// The simulated volume and its labels in NiiVue, loaded when a reader asks for it.
(function () {
  "use strict";

  function load(address) {
    return new Promise((resolve, reject) => {
      const script = document.createElement("script");
      script.src = address;
      script.onload = resolve;
      script.onerror = () => reject(new Error(`${address} cannot be loaded`));
      document.head.append(script);
    });
  }

  async function draw(canvas) {
    await load("_static/niivue/niivue.umd.js");
    await load("_static/volume/volume.js");
    const data = window.spineVolume;
    const viewer = new niivue.Niivue({
      backColor: [0, 0, 0, 1],
      show3Dcrosshair: true,
      logLevel: "error",
      multiplanarShowRender: niivue.SHOW_RENDER.ALWAYS,
      heroImageFraction: 0.6,
      heroSliceType: niivue.SLICE_TYPE.RENDER,
      sagittalNoseLeft: true,
    });
    await viewer.attachToCanvas(canvas);
    const image = await niivue.NVImage.loadFromBase64({
      base64: data.image,
      name: "image.nii.gz",
    });
    const labels = await niivue.NVImage.loadFromBase64({
      base64: data.labels,
      name: "labels.nii.gz",
      opacity: 0.7,
    });
    labels.setColormapLabel({
      R: data.colours.map((colour) => colour[0]),
      G: data.colours.map((colour) => colour[1]),
      B: data.colours.map((colour) => colour[2]),
      A: data.colours.map((_, number) => (number ? 255 : 0)),
      I: data.colours.map((_, number) => number),
      labels: data.names,
    });
    viewer.addVolume(image);
    viewer.addVolume(labels);
    viewer.setSliceType(viewer.sliceTypeMultiplanar);
    viewer.drawScene();
  }

  document.addEventListener("DOMContentLoaded", () => {
    const button = document.getElementById("volume-load");
    if (!button) {
      return;
    }
    const canvas = document.getElementById("volume-canvas");
    const state = document.getElementById("volume-state");
    button.addEventListener("click", async () => {
      button.disabled = true;
      if (!document.createElement("canvas").getContext("webgl2")) {
        state.textContent = "Your browser cannot draw it: WebGL2 is missing.";
        return;
      }
      state.textContent = "Loading …";
      canvas.parentElement.hidden = false;
      try {
        await draw(canvas);
        button.hidden = true;
        state.textContent = "Drag to turn or to move the crosshair. Scroll to change the slice.";
      } catch (error) {
        state.textContent = `The volume cannot be drawn: ${error.message}`;
      }
    });
  });
})();
