// SPDX-License-Identifier: BSD-2-Clause
/** The connections of a backend, over all its links, and their events. */

import { randomBytes } from 'node:crypto';
import { constants } from 'node:os';

import { BUFFER_BYTES, Conn } from './conn.js';
import { PAYLOAD_MIN } from './frames.js';

/** Payload bytes that xtcpd may send us on a stream before we grant more. */
export const CREDIT_BYTES = 4 * 1024 * 1024;

/** A queue that takes from its front in constant time. */
export class Queue {
  #items = [];
  #head = 0;

  get length() {
    return this.#items.length - this.#head;
  }

  get first() {
    return this.#items[this.#head];
  }

  push(item) {
    this.#items.push(item);
  }

  shift() {
    const item = this.#items[this.#head];
    this.#items[this.#head++] = undefined;
    if (this.#head > 1024 && this.#head * 2 > this.#items.length) {
      this.#items = this.#items.slice(this.#head);
      this.#head = 0;
    }
    return item;
  }

  unshift(item) {
    if (this.#head > 0)
      this.#items[--this.#head] = item;
    else
      this.#items.unshift(item);
  }

  remove(item) {
    const at = this.#items.indexOf(item, this.#head);
    if (at >= 0)
      this.#items.splice(at, 1);
  }

  * [Symbol.iterator]() {
    for (let i = this.#head; i < this.#items.length; i++)
      yield this.#items[i];
  }
}

/**
 * The connections of one backend, and what is to be told of them.
 *
 * onOutput(link): link has something to take(); onEvents(): nextEvent() has
 * something; onWorkers(n): more links are wanted, or some went.
 */
export class Core {
  constructor({ port = 0, family = 0, poolBytes = 0, name = '',
    bufferBytes = BUFFER_BYTES, creditBytes = CREDIT_BYTES,
    listens = false } = {}) {
    if (!(creditBytes >= PAYLOAD_MIN))
      throw new RangeError(`creditBytes is under ${PAYLOAD_MIN}`);
    if (!(bufferBytes >= 1))
      throw new RangeError('bufferBytes is under 1');
    this.port = port;
    this.family = family;
    this.poolBytes = poolBytes;
    this.name = Buffer.from(name);
    this.bufferBytes = bufferBytes;
    this.creditBytes = creditBytes;
    this.listens = listens;
    this.instance = randomBytes(8).readBigUInt64BE();
    this.conns = new Map(); // by id
    this.links = [];
    this.workers = 0;
    this.ready = new Queue(); // connections and events
    this.onOutput = () => {};
    this.onEvents = () => {};
    this.onWorkers = () => {};
    this.roomWaiters = new Map();
  }

  /** The next event, in turn over the connections; null: there is none. */
  nextEvent() {
    while (this.ready.length > 0) {
      const c = this.ready.shift();
      if (!(c instanceof Conn))
        return c;
      c._queued = false;
      const event = c._nextEvent();
      this.tell(c);
      if (event !== null)
        return event;
    }
    return null;
  }

  /** c is in ready from now on if it has something to tell. */
  tell(c) {
    if (!c._hasEvent || c._queued)
      return;
    c._queued = true;
    this.ready.push(c);
    this.onEvents();
  }

  /** The connection is gone at the other side. */
  lose(c, errno = 0) {
    this.conns.delete(c.id);
    c._gone = true;
    c._unsent.length = 0;
    c._unsentBytes = 0;
    c._dropRx();
    c._link.unwant(c);
    if (c._known) {
      c._resetDue = errno || constants.errno.ECONNRESET;
      this.tell(c);
    }
    this.wakeRoom(c);
  }

  /** Until wakeRoom(): the caller looks again then. */
  waitRoom(c) {
    let waiter = this.roomWaiters.get(c);
    if (waiter === undefined) {
      waiter = {};
      waiter.promise = new Promise((resolve) => { waiter.resolve = resolve; });
      this.roomWaiters.set(c, waiter);
    }
    return waiter.promise;
  }

  wakeRoom(c) {
    this.roomWaiters.get(c)?.resolve();
    this.roomWaiters.delete(c);
  }

  connsOf(link) {
    return [...this.conns.values()].filter((c) => c._link === link);
  }

  /** The lost link of the same worker that link may take over. */
  predecessor(link) {
    return this.links.find((o) => o !== link && o.state === 'DOWN' &&
      o.wasUp && o.worker === link.worker);
  }
}
