// SPDX-License-Identifier: BSD-2-Clause
/**
 * Application servers on xtcpd, in Node.
 *
 *	import { dial } from 'xtcp';
 *
 *	const backend = await dial(5222);
 *	for await (const event of backend) {
 *	  if (event.type === 'data')
 *	    event.conn.reply(event.data, { ackd: event.data.length });
 *	  else if (event.type === 'eof')
 *	    event.conn.close();
 *	}
 *
 * A request is acknowledged to the client when `ackd` says that it was
 * processed, and not before: of a process that dies, the next one gets all that
 * was not. The protocol is xtcp-frame(7), and the same as that of libxtcp(3).
 * What there is, is documented in index.d.ts.
 */

export {
  attachAddress, Backend, dial, listen, parseAddress,
} from './lib/backend.js';
export { Conn, SlowClientError } from './lib/conn.js';
export { FrameError } from './lib/frames.js';
export { RefusedError } from './lib/link.js';
