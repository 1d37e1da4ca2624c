// SPDX-License-Identifier: BSD-2-Clause
/** Backends with real sockets, and a scripted xtcpd behind them. */

import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { afterEach, beforeEach, test } from 'node:test';

import { attachAddress, dial, FrameError, listen, parseAddress }
  from '../index.js';
import { times } from '../lib/backend.js';
import * as frames from '../lib/frames.js';
import { FIRST, Reader, Side, Type, typeName } from '../lib/frames.js';
import { addr, GROUP, WINDOW } from './fake.js';

// our daemon doesn't close because we do
Object.assign(times, { linger: 20, redialMin: 5 });

const code = (wanted) => (e) => e.code === wanted;
const pause = (ms) => new Promise((resolve) => { setTimeout(resolve, ms); });

/** Values that come one by one, to who waits for them. */
class Mailbox {
  #values = [];
  #wake = () => {};

  put(value) {
    this.#values.push(value);
    this.#wake();
  }

  async take() {
    while (this.#values.length === 0)
      await new Promise((resolve) => { this.#wake = resolve; });
    return this.#values.shift();
  }
}

/** The daemon's end of one stream. */
class Stream {
  #reader = new Reader(Side.XTCPD);
  #frames = new Mailbox();

  constructor(socket) {
    this.socket = socket;
    socket.on('data', (data) => {
      this.#reader.feed(data);
      for (let f; (f = this.#reader.next()) !== null;)
        this.#frames.put(f);
    });
    socket.on('error', () => {});
    socket.on('close', () => this.#frames.put(null));
  }

  async expect(type, want = {}) {
    const f = await this.#frames.take();
    assert.notEqual(f, null, `closed; wanted ${typeName(type)}`);
    const got = { type: typeName(f.type) };
    for (const key of Object.keys(want))
      got[key] = key === 'text' ? f.payload.toString() : f[key];
    assert.deepEqual(got, { type: typeName(type), ...want });
    return f;
  }

  async closed() {
    assert.equal(await this.#frames.take(), null);
  }

  /** The next frame, whatever it is. */
  frame() {
    return this.#frames.take();
  }

  say(type, header = {}, payload = '') {
    this.socket.write(frames.encode({ group: GROUP, ...header, type,
      payload: Buffer.from(payload) }));
  }

  hello(worker, workers) {
    this.say(Type.HELLO, {}, frames.encodeHello({
      flags: frames.HELLO_RESUME, workers, worker, stream_credit: 1 << 20,
      conn_window: WINDOW, instance: 5n, epoch: 77n }));
  }

  client(conn, text) {
    this.say(Type.DATA, { conn: BigInt(conn), flags: FIRST },
      Buffer.concat([addr(conn), Buffer.from(text)]));
  }
}

/** An attach socket, and the streams that came. */
class Daemon {
  #came = new Mailbox();
  streams = [];
  workers = 1;
  refuse = 0;
  given = 0;

  async start(path) {
    this.path = path;
    this.server = net.createServer((socket) => {
      this.streams.push(new Stream(socket));
      this.#came.put(this.streams[this.streams.length - 1]);
    });
    await new Promise((resolve) => { this.server.listen(path, resolve); });
    return this;
  }

  stop() {
    this.server.close();
    for (const s of this.streams)
      s.socket.destroy();
  }

  come() {
    return this.#came.take();
  }

  /** The handshake of the next stream. */
  async accept() {
    const s = await this.come();
    s.theirs = frames.decodeHello((await s.expect(Type.HELLO)).payload);
    s.worker = s.theirs.worker === frames.WORKER_ANY
      ? this.given : s.theirs.worker;
    s.hello(s.worker, this.workers);
    const f = await s.expect(Type.ATTACH);
    if (this.refuse)
      s.say(Type.ERROR, { group: 0, flags: frames.FATAL, aux: this.refuse },
        'no such port');
    else
      s.say(Type.ATTACHED, {}, f.payload);
    return s;
  }

  /** A backend that has dialled, and its streams by worker. */
  async dialled(options = {}) {
    const dialling = dial(5222, { address: this.path, ...options });
    dialling.catch(() => {});
    const streams = [];
    for (let i = 0; i < this.workers; i++)
      streams.push(await this.accept());
    streams.sort((a, b) => a.worker - b.worker);
    return { backend: await dialling, streams };
  }
}

let dir;
let d;

beforeEach(async () => {
  dir = mkdtempSync(`${tmpdir()}/xtcp-`);
  d = await new Daemon().start(`${dir}/attach.sock`);
});

afterEach(() => {
  d.stop();
  rmSync(dir, { recursive: true });
});

async function next(backend) {
  return (await backend.next()).value;
}

/** A client that has said hello; its connection. */
async function greeted(backend, s) {
  s.client(7, 'hello');
  assert.equal((await next(backend)).type, 'open');
  return (await next(backend)).conn;
}

// --- dialling

test('a stream to each worker', async () => {
  d.workers = 3;
  const { backend, streams } = await d.dialled({ name: 'me' });
  assert.deepEqual(streams.map((s) => s.worker), [0, 1, 2]);
  assert.equal(new Set(streams.map((s) => s.theirs.instance)).size, 1);
  assert.equal(`${streams[0].theirs.name}`, 'me');
  assert.equal(backend.streamsUp, 3);
  const conn = await greeted(backend, streams[1]);
  conn.reply('you', { ackd: 5 });
  assert.deepEqual(backend.connections, [conn]);
  await streams[1].expect(Type.REPLY, { ackd: 5, text: 'you' });
  await backend.close();
});

test('no daemon is an error', () => assert.rejects(
  dial(5222, { address: `${dir}/none` }), code('ENOENT')));

test('what the daemon says is the error', async () => {
  d.refuse = 2;
  await assert.rejects(d.dialled(),
    (e) => e.message === 'ENOENT: no such port' && e.errno === 2);
});

test('a daemon that says nothing is an error', async () => {
  times.handshake = 30;
  try {
    await assert.rejects(dial(5222, { address: d.path }), code('ETIMEDOUT'));
  } finally {
    times.handshake = 5000;
  }
});

test('what is no xtcpd is an error', async () => {
  const dialling = dial(5222, { address: d.path });
  dialling.catch(() => {});
  const s = await d.come();
  s.socket.write('HTTP/1.0 400 Bad Request\r\n\r\n'.repeat(3));
  await s.expect(Type.HELLO);
  await s.expect(Type.ERROR, { flags: frames.FATAL, aux: 71 });
  await assert.rejects(dialling, FrameError);
});

test('a lost stream comes again', async () => {
  d.workers = 2;
  d.given = 1;
  const { backend, streams } = await d.dialled();
  const conn = await greeted(backend, streams[0]);
  streams[0].socket.destroy();
  const s = await d.accept();
  assert.deepEqual([s.worker, s.theirs.flags], [0, frames.HELLO_RESUMES]);
  await s.expect(Type.REPLY, { conn: 7n });
  const ping = await s.expect(Type.PING, { flags: frames.RESUMED });
  conn.reply('you', { ackd: 5 });
  s.say(Type.PONG, { offset: ping.offset });
  await s.expect(Type.REPLY, { ackd: 5 });
  await backend.close();
});

test('a bad frame is complained of', async () => {
  const { backend, streams: [s] } = await d.dialled();
  s.say(Type.PONG);
  await s.expect(Type.ERROR, { aux: 71, text: 'PONG to no PING' });
  await s.closed();
  await d.accept();
  await backend.close();
});

test('more and fewer workers after a restart', async () => {
  const { backend, streams: [s] } = await d.dialled();
  d.workers = 2;
  s.socket.destroy();
  const found = [await d.accept(), await d.accept()];
  assert.deepEqual(found.map((o) => o.worker).sort(), [0, 1]);
  while (backend.streamsUp !== 2)
    await pause(1);
  d.workers = 1;
  found.find((o) => o.worker === 0).socket.destroy();
  await d.accept();
  while (backend.streamsUp !== 1)
    await pause(1);
  await backend.close();
});

test('everything sent arrives before the close', async () => {
  const { backend, streams: [s] } = await d.dialled();
  const conn = await greeted(backend, s);
  conn.reply(Buffer.alloc(60000), { ackd: 5 });
  const closing = backend.close();
  await s.expect(Type.REPLY, { ackd: 5 });
  await s.expect(Type.PING);
  await s.closed();
  await closing;
  assert.deepEqual(await backend.next(), { value: undefined, done: true });
});

test('an iterator that waits ends with the close', async () => {
  const { backend } = await d.dialled();
  const waiting = backend.next();
  await backend.close();
  assert.ok((await waiting).done);
});

test('large replies go through a slow reader', async () => {
  const { backend, streams: [s] } = await d.dialled();
  s.socket.pause();
  for (let conn = 1; conn < 9; conn++)
    s.client(conn, 'hello');
  for (let i = 0; i < 16; i++) {
    const event = await next(backend);
    if (event.type === 'data')
      event.conn.reply(Buffer.alloc(WINDOW), { ackd: 5 });
  }
  await pause(10);
  s.socket.resume();
  for (let total = 0; total < 8 * WINDOW;) {
    const f = await s.frame();
    total += f.payload.length;
    if (f.type === Type.PING)
      s.say(Type.PONG, { offset: f.offset });
  }
  await backend.close();
});

// --- listening

async function come(address, worker = 0) {
  const s = new Stream(net.connect(address));
  s.hello(worker, 1);
  s.theirs = frames.decodeHello((await s.expect(Type.HELLO)).payload);
  s.say(Type.ATTACH, {}, frames.encodeAttach({ port: 5222 }));
  await s.expect(Type.ATTACHED, { group: GROUP });
  return s;
}

test('serves and is found again', async () => {
  const path = `${dir}/b.sock`;
  const backend = await listen(`unix:${path}`);
  let s = await come({ path });
  const conn = await greeted(backend, s);
  conn.reply('you', { ackd: 5 });
  await s.expect(Type.REPLY, { ackd: 5 });
  s.socket.destroy();
  while (backend.streamsUp)
    await pause(1);
  s = await come({ path });
  assert.equal(s.theirs.flags, frames.HELLO_RESUMES);
  await s.expect(Type.REPLY, { ackd: 5 }); // no PONG covered it
  await s.expect(Type.REPLY, { ackd: 0 });
  await s.expect(Type.PING);
  await backend.close();
  await s.closed();
  assert.ok(!existsSync(path));
});

test('a stale socket file is replaced', async () => {
  const path = `${dir}/b.sock`;
  // one whose process doesn't unlink it: node does, so by another name
  const stale = net.createServer();
  await new Promise((resolve) => { stale.listen(`${dir}/a`, resolve); });
  const { linkSync } = await import('node:fs');
  linkSync(`${dir}/a`, path);
  await new Promise((resolve) => { stale.close(resolve); });
  const backend = await listen(path);
  (await come({ path })).socket.destroy();
  await backend.close();
});

test('callers that are no xtcpd do no harm', async () => {
  const path = `${dir}/b.sock`;
  const backend = await listen(path);
  for (const text of ['', 'GET / HTTP/1.0\r\n\r\n'.repeat(9)]) {
    const socket = net.connect({ path });
    socket.end(text);
    socket.resume();
    await new Promise((resolve) => { socket.on('close', resolve); });
  }
  const s = await come({ path });
  assert.equal(s.theirs.flags, 0);
  s.socket.destroy();
  await backend.close();
});

test('an address in use is an error', async () => {
  const backend = await listen(`${dir}/b.sock`);
  await assert.rejects(listen(`${dir}/b.sock`), code('EADDRINUSE'));
  await backend.close();
});

test('loopback', async () => {
  const free = net.createServer();
  await new Promise((resolve) => { free.listen(0, '127.0.0.1', resolve); });
  const { port } = free.address();
  await new Promise((resolve) => { free.close(resolve); });
  const backend = await listen(`tcp:127.0.0.1:${port}`);
  (await come({ host: '127.0.0.1', port })).socket.destroy();
  await backend.close();
});

// --- addresses and options

test('what is an address', () => {
  for (const [text, want] of [
    ['/a/b', { path: '/a/b' }], ['unix:/a', { path: '/a' }],
    ['unix:@x', { path: '\0x' }], ['@x', { path: '\0x' }],
    ['tcp:127.0.0.1:1', { host: '127.0.0.1', port: 1 }],
    ['tcp:[::1]:65535', { host: '::1', port: 65535 }],
  ])
    assert.deepEqual(parseAddress(text), want);
  for (const text of ['', 'a', 'unix:', 'unix:a', '@',
    `unix:/${'a'.repeat(107)}`, 'tcp:', 'tcp:127.0.0.1', 'tcp:127.0.0.1:0',
    'tcp:127.0.0.1:65536', 'tcp:192.0.2.1:1', 'tcp:[::2]:1',
    'tcp:localhost:1'])
    assert.throws(() => parseAddress(text), TypeError, text);
});

test('the environment names it', () => {
  process.env.XTCP_ATTACH = '/x/y';
  assert.deepEqual(attachAddress(), { path: '/x/y' });
  process.env.XTCP_ATTACH = '';
  assert.deepEqual(attachAddress(), { path: '/run/xtcpd/attach.sock' });
});

test('options out of range', async () => {
  for (const [port, options] of [[0], [65536], ['5222'], [1.5],
    [1, { creditBytes: 1 }], [1, { bufferBytes: 0 }]])
    await assert.rejects(
      dial(port, { address: '/none', ...options }), RangeError);
});
