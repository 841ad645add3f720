// What the harness does inside the page: Lab's own commands, and a look at the pixels per frame.

window.harness = (() => {
  const EVENTS = ['pointerdown', 'pointermove', 'pointerup', 'keydown', 'click'];

  const isOpen = () => Boolean(window.jupyterapp?.shell.currentWidget?.context);

  const pause = (ms) => new Promise((done) => setTimeout(done, ms));

  // The kernel's first answer may not come (see wake); JupyterLab then goes on without, after 3 s.
  function answered(kernel) {
    return Promise.race([kernel.info, pause(5000)]);
  }

  // A request that is sent while the kernel still connects is lost: wait for its answer first.
  async function connectedPanel() {
    await window.jupyterapp.restored;
    const panel = window.jupyterapp.shell.currentWidget;
    await panel.context.ready;
    await panel.context.sessionContext.ready;
    await answered(panel.context.sessionContext.session.kernel);
    return panel;
  }

  const outputs = (panel) =>
    Array.from(panel.content.model.cells, (cell) => cell.toJSON().outputs ?? []);

  // What the page knows of its kernel, for the words of a failure.
  function stateOfKernel() {
    const session = window.jupyterapp?.shell.currentWidget?.context?.sessionContext;
    const kernel = session?.session?.kernel;
    const cells = window.jupyterapp?.shell.currentWidget?.content?.model?.cells ?? [];
    const states = Array.from(cells, (cell) => cell.executionState ?? cell.type).join(' ');
    const waits = Array.from(kernel?._futures?.values() ?? [], ({msg, _status}) =>
      `${msg.header.msg_type} (has ${['nothing', 'the reply', 'idle'][_status & 3] ?? 'both'})`);
    return `kernel ${kernel?.status}, ${kernel?.connectionStatus}; session ready ` +
      `${session?.isReady}; cells ${states}; waits for ${waits.join(', ') || 'nothing'}`;
  }

  // ipykernel 7.0 to 7.3 leave a request unread now and then, until another client connects
  // (ipykernel issue 1554): one that comes and goes does no harm to any kernel.
  async function wake({model}) {
    const {kernels} = window.jupyterapp.serviceManager;
    const other = kernels.connectTo({model, handleComms: false});
    await pause(2000);
    other.dispose();
  }

  const awake = {patience: 8000};  // ms that the page waits for an answer before it wakes the kernel

  async function keepAwake() {
    for (let waited = 0;;) {
      await pause(500);
      const panel = window.jupyterapp?.shell?.currentWidget;
      const kernel = panel?.context?.sessionContext?.session?.kernel;
      waited = kernel?._futures?.size ? waited + 500 : 0;
      if (waited < awake.patience) continue;
      await wake(kernel);
      waited = 0;
    }
  }

  function within(seconds, work) {
    const late = (_, fail) => setTimeout(
      () => fail(Error(`the run had not ended after ${seconds} s: ${stateOfKernel()}`)),
      1000 * seconds);
    return Promise.race([work, new Promise(late)]);
  }

  const runAll = (seconds) => within(seconds, runEveryCell());
  const runCell = (source, seconds) => within(seconds, addCell(source).then(runTheActiveCell));
  const runActiveCell = (seconds) => within(seconds, runTheActiveCell());

  async function runEveryCell() {
    const panel = await connectedPanel();
    const finished = await window.jupyterapp.commands.execute('notebook:run-all-cells');
    return [finished, outputs(panel)];
  }

  async function addCell(source) {
    const panel = await connectedPanel();
    const notebook = panel.content;
    const end = notebook.model.cells.length;
    notebook.model.sharedModel.insertCell(end, {cell_type: 'code', source});
    notebook.deselectAll();
    notebook.activeCellIndex = end;
  }

  async function runTheActiveCell() {
    const panel = await connectedPanel();
    const place = panel.content.activeCellIndex;
    const finished = await window.jupyterapp.commands.execute('notebook:run-cell');
    return [finished, [outputs(panel)[place]]];
  }

  async function editNewCell() {
    await addCell('');
    await window.jupyterapp.commands.execute('notebook:enter-edit-mode');
  }

  const save = () => window.jupyterapp.commands.execute('docmanager:save');

  // Returns a function that tells [fingerprint, corner pixel], or null while nothing is loaded.
  function eyeOn(element) {
    const picture = element.matches('img, canvas') ? element : element.querySelector('img, canvas');
    if (!picture) return () => [element.innerHTML, []];
    const sketch = document.createElement('canvas');
    const pen = sketch.getContext('2d', {willReadFrequently: true});
    return () => {
      const width = picture.naturalWidth ?? picture.width;
      const height = picture.naturalHeight ?? picture.height;
      if (!width || !height || picture.complete === false) return null;
      sketch.width = width;
      sketch.height = height;
      pen.drawImage(picture, 0, 0);
      const bytes = pen.getImageData(0, 0, width, height).data;
      let hash = 17;
      for (let i = 0; i < bytes.length; i++) hash = (Math.imul(hash, 31) + bytes[i]) | 0;
      return [`${width}x${height}:${hash}`, Array.from(bytes.slice(0, 3))];
    };
  }

  function watch(element) {
    const look = eyeOn(element);
    const probe = {start: performance.now(), changes: [], events: [], running: true};
    const stamp = () => probe.events.push(performance.now());
    EVENTS.forEach((kind) => window.addEventListener(kind, stamp, true));
    probe.stop = () => {
      probe.running = false;
      EVENTS.forEach((kind) => window.removeEventListener(kind, stamp, true));
    };
    let last = look()?.[0];
    const frame = () => {
      if (!probe.running) return;
      const seen = look();
      if (seen && seen[0] !== last) {
        last = seen[0];
        probe.changes.push([performance.now(), seen[1]]);
      }
      requestAnimationFrame(frame);
    };
    requestAnimationFrame(frame);
    return probe;
  }

  function settled([probe, quiet]) {
    const times = [probe.start, ...probe.events, ...probe.changes.map(([at]) => at)];
    return performance.now() - Math.max(...times) > quiet;
  }

  keepAwake();
  return {isOpen, runAll, runCell, runActiveCell, editNewCell, save, watch, settled, awake};
})();
