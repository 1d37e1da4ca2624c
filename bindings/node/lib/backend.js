// SPDX-License-Identifier: BSD-2-Clause
/**
 * Backends: sockets for the links of a Core.
 *
 *   dial()     one link per worker of xtcpd. The first asks for any worker and
 *              learns how many there are; each connects, serves, and connects
 *              again, with a delay that doubles from 50 ms to 2 s, less a
 *              random part so that many processes don't come at once.
 *   listen()   a link per stream that xtcpd opens.
 *
 * What is sent in one turn of the event loop is written in one piece.
 * NODE_DEBUG=xtcp tells of streams that come and go.
 */

import { unlinkSync } from 'node:fs';
import net from 'node:net';
import { basename } from 'node:path';
import { debuglog } from 'node:util';

import { Core } from './core.js';
import { FrameError } from './frames.js';
import { Link, RefusedError } from './link.js';

export const ATTACH_DEFAULT = '/run/xtcpd/attach.sock';
/** Streams of a backend that listens: xtcpd has at most 256 workers. */
const LINKS_MAX = 1024;
const BACKLOG = 1024;

/** In milliseconds; tests have less patience. */
export const times = {
  handshake: 5000,
  redialMin: 50,
  redialMax: 2000,
  /** A stream that lived for so long is redialled with redialMin again. */
  stable: 2000,
  /** How long a stream that we end may take to say the last. */
  linger: 2000,
};

const log = debuglog('xtcp');

function codeError(code, message) {
  const error = new Error(`${code}: ${message}`);
  error.code = code;
  return error;
}

/**
 * unix:PATH, unix:@NAME or tcp:HOST:PORT (a loopback one), or a path: what
 * net.connect() takes. A TypeError says what is wrong.
 */
export function parseAddress(text) {
  if (text.startsWith('tcp:')) {
    const m = /^tcp:(\[::1\]|127(?:\.\d{1,3}){3}):(\d{1,5})$/.exec(text);
    if (m === null || Number(m[2]) < 1 || Number(m[2]) > 65535)
      throw new TypeError(`"${text}": must be tcp:127.x.y.z:PORT or ` +
        'tcp:[::1]:PORT, as frames are not encrypted');
    return { host: m[1].replace(/[[\]]/g, ''), port: Number(m[2]) };
  }
  const path = text.replace(/^unix:/, '');
  if (!/^(\/|@.)/.test(path))
    throw new TypeError(`"${text}": the path must be absolute (or @NAME)`);
  if (Buffer.byteLength(path) > 107)
    throw new TypeError(`"${text}": the path is longer than 107 bytes`);
  return { path: path[0] === '@' ? `\0${path.slice(1)}` : path };
}

/** Where xtcpd listens: XTCP_ATTACH, or the default. */
export function attachAddress() {
  return parseAddress(process.env.XTCP_ATTACH || ATTACH_DEFAULT);
}

/** The socket of a link, from its connection to its end. */
class Stream {
  constructor(backend, link, socket) {
    this.backend = backend;
    this.link = link;
    this.socket = socket;
    this.error = codeError('ECONNRESET', 'xtcpd closed the stream');
    this.upAt = 0;
    this.begun = false;
    this.paused = false;
    this.finishing = false;
    this.soon = null;
    this.ended = new Promise((resolve) => { this.onEnded = resolve; });
    this.up = new Promise((resolve) => { this.onUp = resolve; });
    this.timer = setTimeout(() => this.fail(
      codeError('ETIMEDOUT', 'no answer from xtcpd')), times.handshake);
    socket.on('data', (data) => this.#data(data));
    socket.on('drain', () => {
      this.paused = false;
      this.flush();
    });
    socket.on('error', (e) => {
      if (!this.finishing)
        this.error = e;
    });
    socket.on('close', () => this.#close());
    if (socket.connecting)
      socket.on('connect', () => this.#begin());
    else
      this.#begin();
  }

  #begin() {
    this.begun = true;
    this.backend._streams.set(this.link, this);
    this.link.begin();
  }

  #data(data) {
    if (this.finishing || this.socket.destroyed)
      return;
    try {
      this.link.feed(data);
    } catch (e) {
      this.#refuse(e);
      return;
    }
    if (this.link.state !== 'UP' || this.upAt)
      return;
    clearTimeout(this.timer);
    this.upAt = performance.now();
    log('worker %s: attached, port %d', this.link.worker, this.backend.port);
    this.onUp();
  }

  /** Ends the stream, and says why as far as that is possible. */
  #refuse(error) {
    if (!(error instanceof FrameError))
      throw error;
    if (error instanceof RefusedError) {
      this.fail(error);
      return;
    }
    if (!this.paused)
      this.socket.write(Link.errorFrame(error));
    this.finish(error);
  }

  /** The end, at once. */
  fail(error) {
    this.error = error;
    this.finishing = true;
    this.socket.destroy();
  }

  /** The end, once what was written has been read. */
  finish(error) {
    this.error = error;
    this.finishing = true;
    this.socket.end();
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.socket.destroy(), times.linger);
  }

  #close() {
    clearTimeout(this.timer);
    clearImmediate(this.soon);
    if (this.backend._streams.get(this.link) === this) {
      this.backend._streams.delete(this.link);
      this.backend._lost(this.link);
    }
    this.onUp();
    this.onEnded();
  }

  /** The link has something to say: soon, or at once when it is much. */
  output() {
    if (!this.link.corked)
      this.flush();
    else
      this.soon ??= setImmediate(() => {
        this.soon = null;
        this.flush();
      });
  }

  flush() {
    if (this.paused || this.finishing || this.socket.destroyed)
      return;
    let data;
    try {
      data = this.link.take();
    } catch (e) {
      this.#refuse(e);
      return;
    }
    if (data.length > 0)
      this.paused = !this.socket.write(data);
  }
}

/** An application server behind a group of xtcpd: made by dial() or listen(). */
export class Backend {
  #core;
  #address = null;
  #server = null;
  #wake = null;
  #closed = false;
  #closing = null;
  #retries = new Map(); // link: how to stop waiting before it is dialled
  #first = new Map(); // link: whether it came UP at first

  constructor(core) {
    this.#core = core;
    this._streams = new Map();
    core.onOutput = (link) => this._streams.get(link)?.output();
    core.onEvents = () => this.#wake?.();
    core.onWorkers = (workers) => this.#onWorkers(workers);
  }

  // --- what an application sees

  get port() {
    return this.#core.port;
  }

  get connections() {
    return [...this.#core.conns.values()].filter((c) => c._known && c.isOpen);
  }

  get streamsUp() {
    return this.#core.links.filter((link) => link.state === 'UP').length;
  }

  poll() {
    return this.#core.nextEvent();
  }

  [Symbol.asyncIterator]() {
    return this;
  }

  async next() {
    while (!this.#closed) {
      const value = this.#core.nextEvent();
      if (value !== null)
        return { value, done: false };
      await new Promise((resolve) => { this.#wake = resolve; });
      this.#wake = null;
    }
    return { value: undefined, done: true };
  }

  close() {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close() {
    this.#closed = true;
    for (const stop of this.#retries.values())
      stop();
    this.#server?.close(); // and unlinks a socket's file
    const ends = [];
    for (const stream of this._streams.values()) {
      stream.flush();
      stream.finish(codeError('ESHUTDOWN', 'closed'));
      ends.push(stream.ended);
    }
    await Promise.all(ends);
    this.#wake?.();
  }

  // --- the core's calls

  _lost(link) {
    const { links, listens } = this.#core;
    link.lost();
    if (listens && !link.wasUp && links.includes(link))
      links.splice(links.indexOf(link), 1);
  }

  /** xtcpd says how many workers it has: a link for each. */
  #onWorkers(workers) {
    const core = this.#core;
    for (const link of core.links.filter((o) => o.worker >= workers)) {
      core.links.splice(core.links.indexOf(link), 1);
      this.#retries.get(link)?.();
      this._streams.get(link)?.fail(
        codeError('ESHUTDOWN', 'no such worker'));
      link.discard();
    }
    const known = new Set(core.links.map((o) => o.worker));
    for (let worker = 0; worker < workers; worker++)
      if (!known.has(worker))
        this.#add(new Link(core, worker));
  }

  // --- dialling

  #add(link) {
    this.#core.links.push(link);
    this.#first.set(link, new Promise((resolve, reject) => {
      this.#keep(link, resolve, reject);
    }));
    // whoever doesn't wait for it is told by the log
    this.#first.get(link).catch(() => {});
  }

  /** Keeps a link connected. */
  async #keep(link, resolve, reject) {
    let delay = times.redialMin;
    while (!this.#closed && this.#core.links.includes(link)) {
      const stream = new Stream(this, link, net.connect(this.#address));
      await stream.up;
      if (stream.upAt)
        resolve();
      await stream.ended;
      reject(stream.error);
      if (stream.upAt && performance.now() - stream.upAt >= times.stable)
        delay = times.redialMin;
      log('worker %s: %s', link.worker, stream.error.message);
      if (!this.#closed)
        await this.#pause(link, delay * (0.75 + Math.random() / 4));
      delay = Math.min(delay * 2, times.redialMax);
    }
  }

  #pause(link, ms) {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#retries.set(link, () => {
        clearTimeout(timer);
        resolve();
      });
    });
  }

  /** Until each worker has a stream of ours, or one fails. */
  async _dial(address) {
    this.#address = address;
    const first = new Link(this.#core);
    this.#add(first);
    await this.#first.get(first);
    for (const link of [...this.#core.links])
      await this.#first.get(link);
  }

  // --- listening

  #accept(socket) {
    const { links } = this.#core;
    if (this.#closed || links.length >= LINKS_MAX) {
      socket.destroy();
      return;
    }
    const link = new Link(this.#core);
    links.push(link);
    new Stream(this, link, socket);
  }

  async _listen(address) {
    if (address.path?.startsWith('/'))
      await unlinkStale(address.path);
    this.#server = net.createServer((socket) => this.#accept(socket));
    await new Promise((resolve, reject) => {
      this.#server.once('error', reject);
      this.#server.listen({ ...address, backlog: BACKLOG }, resolve);
    });
    this.#server.on('error', (e) => log('%s', e.message));
  }
}

/** A socket's file that a process left behind; EADDRINUSE: it's in use. */
function unlinkStale(path) {
  return new Promise((resolve, reject) => {
    const probe = net.connect({ path });
    probe.on('connect', () => {
      probe.destroy();
      reject(codeError('EADDRINUSE', `${path}: somebody listens there`));
    });
    probe.on('error', (e) => {
      if (e.code === 'ECONNREFUSED')
        unlinkSync(path);
      else if (e.code !== 'ENOENT') {
        reject(codeError('EADDRINUSE', `${path}: ${e.message}`));
        return;
      }
      resolve();
    });
  });
}

function within(promise, ms) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(
      codeError('ETIMEDOUT', 'no answer from xtcpd')), ms);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

function named(options) {
  return { name: basename(process.argv[1] ?? 'node'), ...options };
}

export async function dial(port, { address, ...options } = {}) {
  if (!Number.isInteger(port) || port < 1 || port > 65535)
    throw new RangeError(`port ${port} is not 1..65535`);
  const where = address ? parseAddress(address) : attachAddress();
  const backend = new Backend(new Core({ ...named(options), port }));
  try {
    await within(backend._dial(where), times.handshake);
  } catch (e) {
    await backend.close();
    throw e;
  }
  return backend;
}

export async function listen(address, options = {}) {
  const backend = new Backend(new Core({ ...named(options), listens: true }));
  await backend._listen(parseAddress(address));
  return backend;
}
