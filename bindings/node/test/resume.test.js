// SPDX-License-Identifier: BSD-2-Clause
/** Streams that are lost and come again: nothing is lost, nothing twice. */

import assert from 'node:assert/strict';
import { constants } from 'node:os';
import { test } from 'node:test';

import * as frames from '../lib/frames.js';
import { AT, REDELIVERED, SHORT, Type, WAITS } from '../lib/frames.js';
import { Link } from '../lib/link.js';
import { Daemon, HALF, WINDOW } from './fake.js';

const { ECONNRESET } = constants.errno;

// --- resumption

test('same identity, and the flag', () => {
  const d = new Daemon().up();
  const before = d.hello;
  d.again();
  assert.deepEqual([d.hello.instance, d.hello.worker, d.hello.flags],
    [before.instance, 0, frames.HELLO_RESUMES]);
  d.resumed();
  d.quiet();
});

test('unconfirmed replies are sent again', () => {
  const d = new Daemon().up();
  const c = d.client(7, 'abcdef');
  c.reply('one', { ackd: 2 });
  c.reply('two', { ackd: 2 });
  c.ack(1);
  d.link.take();
  d.again();
  d.expect(Type.REPLY, { aux: 0, offset: 0, ackd: 2, text: 'one' });
  d.expect(Type.REPLY, { aux: 3, offset: 2, ackd: 2, text: 'two' });
  d.expect(Type.REPLY, { offset: 4, ackd: 1, text: '' });
  d.expect(Type.REPLY,
    { conn: 7, offset: 5, ackd: 0, text: '', aux: 6, flags: AT });
  d.resumed();
  d.quiet();
});

test('confirmed replies are not sent again', () => {
  const d = new Daemon().up();
  const c = d.client(7, 'abcdef');
  c.reply(Buffer.alloc(20000), { ackd: 6 });
  d.expect(Type.REPLY);
  d.confirm();
  d.again();
  d.expect(Type.REPLY, { offset: 6, aux: 20000, text: '' });
  d.resumed();
  c.push('x');
  d.expect(Type.REPLY, { aux: 20000 });
});

test('a second loss keeps the order', () => {
  const d = new Daemon().up();
  const c = d.client(7, 'abc');
  c.push('one');
  c.push('two');
  d.link.take();
  d.credit = 4;
  d.again();
  d.expect(Type.REPLY, { text: 'one' });
  d.quiet(); // no credit for the other
  c.push('three');
  d.credit = 1 << 20;
  d.again();
  d.expect(Type.REPLY, { text: 'one', aux: 0 });
  d.expect(Type.REPLY, { text: 'two', aux: 3 });
  d.expect(Type.REPLY, { text: '', aux: 6 });
  d.resumed();
  d.expect(Type.REPLY, { text: 'three', aux: 6 });
});

test('credit is asked for where it is short', () => {
  const d = new Daemon().up();
  const c = d.client(7, 'abc');
  d.client(8, 'abc');
  c.push(Buffer.alloc(WINDOW - HALF + 1));
  d.expect(Type.REPLY);
  d.confirm();
  d.again();
  d.expect(Type.REPLY, { conn: 7, flags: AT | SHORT });
  d.expect(Type.REPLY, { conn: 8, flags: AT });
  d.resumed();
});

test('redelivery is trimmed to what is new', () => {
  const d = new Daemon().up();
  const c = d.client(7, 'abcdef');
  c.ack(2);
  d.again();
  d.expect(Type.REPLY, { ackd: 2 });
  d.expect(Type.REPLY, { ackd: 0 });
  d.resumed();
  d.first(7, 'abcdefgh', { flags: REDELIVERED });
  d.expect(Type.REPLY, { offset: 2, ackd: 0, text: '' });
  assert.deepEqual(d.told(), ['data 7 gh@6 again']);
  assert.deepEqual([`${c.pending}`, c.redelivered], ['cdefgh', 8]);
  d.first(7, 'cdefgh', { offset: 2, flags: REDELIVERED });
  assert.deepEqual(d.told(), []);
  d.quiet();
});

test('a new process is told of redelivery', () => {
  const d = new Daemon().up();
  d.first(7, 'abc', { offset: 10, sent: 4, aux: 1, flags: REDELIVERED });
  const [{ conn }, data] = d.events();
  assert.deepEqual([data.offset, data.redelivered], [10, true]);
  assert.deepEqual([conn.offset, conn.sent, conn.redelivered], [10, 5, 13]);
  d.data(7, 'new', 13);
  assert.deepEqual(d.told(), ['data 7 new@13']);
});

test('a connection that is gone meanwhile is reset', () => {
  const d = new Daemon().up();
  d.client(7, 'abc').reply('kept', { ackd: 3 });
  d.again();
  d.expect(Type.REPLY, { text: 'kept' });
  d.expect(Type.REPLY);
  d.say(Type.RESET, { conn: 7, aux: 104 });
  assert.deepEqual(d.told(), ['reset 7 104']);
  d.resumed();
  d.quiet();
});

test('a connection served elsewhere is a new one', () => {
  for (const header of [{ offset: 10 }, { sent: 100 }]) {
    const d = new Daemon().up();
    const c = d.client(7, 'abc');
    d.again();
    d.expect(Type.REPLY);
    d.resumed();
    d.first(7, 'xyz', { flags: REDELIVERED, ...header });
    const [reset, open, data] = d.events();
    assert.deepEqual(reset, { type: 'reset', conn: c, errno: ECONNRESET });
    assert.notEqual(open.conn, c);
    assert.equal(`${data.data}`, 'xyz');
    open.conn.ack(3);
    d.expect(Type.REPLY, { offset: header.offset ?? 0, ackd: 3 });
  }
});

test('what is said while away waits', () => {
  const d = new Daemon().up();
  const c = d.client(7, 'abc');
  d.lose();
  c.reply('while away', { ackd: 2 });
  c.ack(1);
  d.up();
  d.expect(Type.REPLY, { offset: 0, ackd: 0, text: '', aux: 0 });
  const ping = d.expect(Type.PING, { flags: frames.RESUMED });
  c.shutdown();
  d.quiet();
  d.pong(ping);
  d.expect(Type.REPLY, { ackd: 3, text: 'while away' });
  d.expect(Type.FIN);
});

test('a close while away reaches the daemon', () => {
  const d = new Daemon().up();
  const c = d.client(7, 'abc');
  d.lose();
  c.close();
  d.up();
  d.expect(Type.REPLY, { conn: 7 });
  d.resumed();
  d.first(7, 'abc', { flags: REDELIVERED }); // not knowing yet
  assert.deepEqual(d.told(), []);
  d.expect(Type.CLOSE, { conn: 7 });
  d.quiet();
});

test('an unconfirmed close is said again', () => {
  const d = new Daemon().up();
  const c = d.client(7, 'abc');
  let ping;
  c.reply('bye', { ackd: 3 });
  c.close();
  d.link.take();
  for (let i = 0; i < 2; i++) {
    d.again();
    d.expect(Type.REPLY, { text: 'bye' });
    d.expect(Type.CLOSE, { conn: 7, aux: 3 });
    ping = d.expect(Type.PING, { flags: frames.RESUMED });
  }
  assert.ok(d.core.conns.has(7n));
  d.pong(ping);
  assert.ok(!d.core.conns.has(7n));
});

test('what is kept for one that is gone is not said', () => {
  const d = new Daemon().up();
  const c = d.client(7, 'abc');
  d.again();
  d.expect(Type.REPLY);
  const ping = d.expect(Type.PING);
  c.push('old');
  c.close();
  // it is another's now; then it is ours again, and a new one
  d.say(Type.RESET, { conn: 7 });
  d.pong(ping);
  d.client(7, 'abc');
  d.quiet();
});

test('what waits for credit is not said of one that is gone', () => {
  const d = new Daemon().up();
  for (const c of [d.client(7, 'abc'), d.client(8, 'abc')])
    c.push(Buffer.alloc(4000));
  d.link.take();
  d.credit = 5000;
  d.again();
  d.expect(Type.REPLY, { conn: 7 });
  d.say(Type.RESET, { conn: 8 });
  d.say(Type.CREDIT, { aux: 10000 });
  d.expect(Type.REPLY, { conn: 7, bytes: 0 });
  d.resumed();
});

test('who is gone waits for nothing', () => {
  const d = new Daemon().up();
  const c = d.client(7, 'abc');
  d.lose();
  c.push('hello');
  assert.equal(d.link.wants.length, 1);
  d.up();
  d.say(Type.RESET, { conn: 7 });
  assert.equal(d.link.wants.length, 0);
});

test('a close is forgotten when it is confirmed', () => {
  const d = new Daemon().up();
  const c = d.client(7, 'abc');
  c.push(Buffer.alloc(20000));
  d.expect(Type.REPLY);
  d.confirm();
  c.close();
  d.link.take();
  d.again();
  d.expect(Type.CLOSE, { conn: 7 });
  assert.ok(d.core.conns.has(7n));
  d.resumed();
  assert.ok(!d.core.conns.has(7n));
});

test('a connection that comes by another stream goes on there', () => {
  const d = new Daemon().up();
  const c = d.client(7, 'abc');
  d.lose();
  c.reply('hello', { ackd: 3 });
  const other = new Daemon();
  other.core = d.core;
  other.adopt(new Link(d.core, 1));
  other.workers = 2;
  other.up(1);
  other.first(7, 'abc', { flags: REDELIVERED });
  other.expect(Type.REPLY, { conn: 7, ackd: 3, text: 'hello' });
  assert.equal(d.link.wants.length, 0);
});

test('waiting handshakes end with their stream', () => {
  const d = new Daemon().up();
  d.open(5, WAITS);
  assert.deepEqual(d.told(), ['open 5 waits']);
  d.again();
  d.resumed();
  assert.deepEqual(d.told(), ['reset 5 104']);
  d.open(5, WAITS);
  d.events()[0].conn.accept();
  d.expect(Type.ACCEPT, { conn: 5 });
  d.open(5, WAITS); // again: the answer was lost
  d.expect(Type.ACCEPT, { conn: 5 });
  assert.deepEqual(d.told(), []);
});

test('an unconfirmed accept is said again', () => {
  const d = new Daemon().up();
  d.open(5, WAITS);
  const [{ conn }] = d.events();
  conn.accept();
  conn.push('hi');
  d.link.take();
  d.again();
  d.expect(Type.ACCEPT, { conn: 5 });
  d.expect(Type.REPLY, { text: 'hi' });
  d.expect(Type.REPLY, { text: '' });
  d.resumed();
});

test('ids of another epoch are other connections', () => {
  const d = new Daemon().up();
  d.client(7, 'abc').reply('old', { ackd: 3 });
  d.client(8, 'abc').close();
  d.link.take();
  d.epoch = 78n;
  d.again();
  assert.deepEqual(d.told(), [`reset 7 ${ECONNRESET}`]);
  d.resumed();
  d.quiet();
  assert.equal(d.core.conns.size, 0);
  assert.equal(d.client(7, 'new').epoch, 78n);
});

test('fewer workers lose their connections', () => {
  const d = new Daemon().up();
  d.client(7, 'abc');
  d.link.discard();
  assert.deepEqual(d.told(), [`reset 7 ${ECONNRESET}`]);
});

test('untaken bytes of the stream before are not granted', () => {
  const d = new Daemon().up();
  d.first(7, Buffer.alloc(1000));
  d.again();
  d.expect(Type.REPLY);
  d.resumed();
  d.data(7, Buffer.alloc(10), 1000);
  d.events();
  assert.equal(d.link.recvUsed, 10);
});

// --- listening

test('a stream of the same worker takes over', () => {
  const d = new Daemon({ listens: true }).up();
  assert.deepEqual([d.hello.flags, d.core.port], [0, 5222]);
  const c = d.client(7, 'abc');
  c.reply('one', { ackd: 3 });
  d.link.take();
  d.lose();
  c.push('two');
  const old = d.link;
  d.adopt(new Link(d.core));
  d.up();
  assert.equal(d.hello.flags, frames.HELLO_RESUMES);
  assert.ok(!d.core.links.includes(old));
  d.expect(Type.REPLY, { text: 'one', ackd: 3 });
  d.expect(Type.REPLY, { text: '' });
  d.resumed();
  d.expect(Type.REPLY, { text: 'two', aux: 3 });
});

test('a stream of another worker does not', () => {
  const d = new Daemon({ listens: true }).up();
  d.client(7, 'abc');
  d.lose();
  d.adopt(new Link(d.core));
  d.up(1);
  assert.equal(d.hello.flags, 0);
  d.quiet();
});
