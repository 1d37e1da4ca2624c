// SPDX-License-Identifier: BSD-2-Clause
/**
 * A client's connection, and what happens to it: the application's view.
 *
 * What a connection has received and not acknowledged is held here; xtcpd has
 * it, too, and gives it to the next process if this one dies:
 *
 *          offset               told                 received
 *    .........|-- may be acked --|-- not told of yet --|
 *
 * What is to be sent and could not be yet waits in `unsent`, with the
 * acknowledgements that belong behind it: who acknowledged has sent the reply,
 * whole. `ackedOut` is how far the acknowledgements went that were sent.
 *
 * Names that begin with _ are the package's own. Positions are numbers: a
 * stream of more than 2^53 bytes is refused by link.js.
 */

import { hostText, Type } from './frames.js';

/** Bytes that may wait in a connection to be sent, unless options say more. */
export const BUFFER_BYTES = 256 * 1024;

const NOTHING = Buffer.alloc(0);

function stateError(code, message) {
  const error = new Error(`${code}: ${message}`);
  error.code = code;
  return error;
}

/**
 * The buffer of the connection is full: nothing was taken, nor acknowledged.
 * Wait for `await conn.writable()`, or abort() who doesn't keep up.
 */
export class SlowClientError extends Error {
  constructor(message) {
    super(`EAGAIN: ${message}`);
    this.name = 'SlowClientError';
    this.code = 'EAGAIN';
  }
}

/** Received bytes: appended at the end, let go of at the front. */
class Bytes {
  #buffer = NOTHING;
  #start = 0;
  #end = 0;

  get length() {
    return this.#end - this.#start;
  }

  append(data) {
    const need = this.length + data.length;
    if (this.#end + data.length > this.#buffer.length) {
      const from = this.#buffer;
      if (need > from.length)
        this.#buffer = Buffer.allocUnsafeSlow(
          Math.max(need, 2 * from.length));
      from.copy(this.#buffer, 0, this.#start, this.#end);
      this.#end -= this.#start;
      this.#start = 0;
    }
    this.#buffer.set(data, this.#end);
    this.#end += data.length;
  }

  drop(n) {
    this.#start += n;
    if (this.#start === this.#end) {
      this.#buffer = NOTHING;
      this.#start = this.#end = 0;
    }
  }

  /** A copy of the bytes from..to. */
  copy(from, to) {
    return Buffer.from(
      this.#buffer.subarray(this.#start + from, this.#start + to));
  }
}

/** One client. Made by the package alone, and told of by an open event. */
export class Conn {
  constructor(link, id, addr, offset, sent) {
    this.id = id;
    this.family = addr.family;
    this.remote = {
      address: hostText(addr.family, addr.remote), port: addr.remote_port };
    this.local = {
      address: hostText(addr.family, addr.local), port: addr.local_port };
    this.user = undefined;
    this._link = link;
    this._rx = new Bytes();
    this._offset = offset;
    this._redelivered = offset;
    this._told = offset;
    this._done = 0;
    this._eof = false;
    this._waits = false; // the handshake does, for ACCEPT or REJECT
    this._shut = false;
    this._closed = false; // by the application
    this._gone = false; // RESET
    this._known = false; // the application has had an event of it
    this._openDue = true;
    this._eofDue = false;
    this._resetDue = 0; // errno
    this._queued = false; // in Core.ready
    this._unsent = []; // parts
    this._unsentBytes = 0;
    this._wanted = false; // in Link.wants
    this._ackedOut = offset;
    this._sentOut = sent;
    this._limit = 0;
    // Whose credit the untold bytes are: the last _grantBytes of them.
    this._grantLink = link;
    this._grantLife = link.life;
    this._grantBytes = 0;
  }

  // --- where it stands

  get epoch() {
    return this._link.epoch;
  }

  get offset() {
    return this._offset;
  }

  get redelivered() {
    return this._redelivered;
  }

  get pending() {
    return this._rx.copy(0, this._told - this._offset);
  }

  get sent() {
    return this._sentOut + this._unsentBytes;
  }

  get buffered() {
    return this._unsentBytes;
  }

  get room() {
    if (this._gone || this._closed || this._shut)
      return 0;
    return Math.max(0, this._link.core.bufferBytes - this._unsentBytes);
  }

  get isOpen() {
    return !this._gone && !this._closed;
  }

  // --- what an application does

  accept() {
    this.#check();
    if (this._waits && this._unsent.length === 0)
      this._link.send(this, { type: Type.ACCEPT, data: NOTHING, ackd: 0 });
  }

  reject() {
    this.#end(this._waits ? Type.REJECT : Type.ABORT);
  }

  reply(data = NOTHING, { ackd = 0 } = {}) {
    this.#check();
    if (this._waits && this._unsent.length === 0)
      throw stateError('ENOTCONN', 'accept() the connection first');
    if (!Number.isInteger(ackd) || ackd < 0 ||
        ackd > this._told - this._offset)
      throw new RangeError(`ackd is ${ackd}, but ` +
        `${this._told - this._offset} bytes wait to be acknowledged`);
    // a copy: the caller may use its buffer again
    const bytes = Buffer.from(data);
    if (bytes.length > 0 && this._shut)
      throw stateError('EPIPE', 'sent after shutdown()');
    if (bytes.length > this.room)
      throw new SlowClientError(
        `${this._unsentBytes} bytes wait to be sent already`);
    this.#consume(ackd);
    if (bytes.length > 0 || ackd > 0)
      this._link.send(this, { type: Type.REPLY, data: bytes, ackd });
  }

  push(data) {
    this.reply(data);
  }

  ack(n) {
    this.reply(NOTHING, { ackd: n });
  }

  done(offset) {
    this.#check();
    this._done = Math.max(this._done, offset);
    this._skip();
  }

  shutdown() {
    this.#check();
    if (this._shut)
      return;
    this._shut = true;
    this._link.send(this, { type: Type.FIN, data: NOTHING, ackd: 0 });
  }

  close() {
    this.#end(Type.CLOSE);
  }

  abort() {
    this.#end(Type.ABORT);
  }

  async writable(n = 1) {
    if (n > this._link.core.bufferBytes)
      throw new RangeError(`n is over ${this._link.core.bufferBytes}`);
    for (;;) {
      this.#check();
      if (this._shut)
        throw stateError('EPIPE', 'sent after shutdown()');
      if (this.room >= n)
        return;
      await this._link.core.waitRoom(this);
    }
  }

  // --- the package's own

  #check() {
    if (this._gone)
      throw stateError('ECONNRESET', 'the connection is gone');
    if (this._closed)
      throw stateError('EBADF', 'the connection was closed');
  }

  get _received() {
    return this._offset + this._rx.length;
  }

  #end(how) {
    if (this._gone || this._closed)
      return;
    if (how !== Type.CLOSE) {
      this._unsent.length = 0;
      this._unsentBytes = 0;
    }
    this._closed = true;
    this._dropRx();
    this._link.send(this, { type: how, data: NOTHING, ackd: 0 });
    this._link.core.wakeRoom(this);
  }

  /** The application is done with n bytes. */
  #consume(n) {
    this._rx.drop(n);
    this._offset += n;
  }

  /** Consumes and acknowledges what of the bytes before _done was received. */
  _skip() {
    const n = Math.min(this._done, this._received) - this._offset;
    if (n <= 0)
      return;
    this.#tell(Math.max(this._told, this._offset + n));
    this.#consume(n);
    this._link.send(this, { type: Type.REPLY, data: NOTHING, ackd: n });
  }

  /** Bytes up to there are the application's: others may come instead. */
  #tell(upto) {
    const others = this._received - this._told - this._grantBytes;
    const ours = Math.max(0, upto - this._told - others);
    this._told = upto;
    this._grantBytes -= ours;
    this._grantLink.grant(ours, this._grantLife);
  }

  _dropRx() {
    this._grantLink.grant(this._grantBytes, this._grantLife);
    this._grantBytes = 0;
    this._rx = new Bytes();
    this._told = this._offset;
  }

  /** n bytes, which link's credit was used for, wait to be told of. */
  _credited(link, n) {
    if (this._grantLink !== link || this._grantLife !== link.life) {
      this._grantLink.grant(this._grantBytes, this._grantLife);
      this._grantLink = link;
      this._grantLife = link.life;
      this._grantBytes = 0;
    }
    this._grantBytes += n;
  }

  /** What is to be told next, or null. */
  _nextEvent() {
    if (this._closed)
      return null;
    if (this._resetDue) {
      const errno = this._resetDue;
      this._resetDue = 0;
      return { type: 'reset', conn: this, errno };
    }
    if (this._gone)
      return null;
    if (this._openDue) {
      this._openDue = false;
      this._known = true;
      return { type: 'open', conn: this, waits: this._waits };
    }
    if (this._told < this._received) {
      const offset = this._told;
      const data = this._rx.copy(offset - this._offset, this._rx.length);
      this.#tell(this._received);
      return { type: 'data', conn: this, data, offset,
        redelivered: offset < this._redelivered };
    }
    if (this._eofDue) {
      this._eofDue = false;
      return { type: 'eof', conn: this, offset: this._received };
    }
    return null;
  }

  get _hasEvent() {
    if (this._closed)
      return false;
    if (this._gone)
      return this._resetDue !== 0;
    return this._openDue || this._told < this._received || this._eofDue;
  }
}
