-- SPDX-License-Identifier: BSD-2-Clause
--
-- The frames between xtcpd and its backends, xtcp-frame(7), for Wireshark.
--
--	cp xtcp-frame.lua ~/.local/lib/wireshark/plugins/
--	tshark -X lua_script:xtcp-frame.lua -o xtcp.ports:7000-7003 -i lo
--
-- Streams over loopback TCP: the preference "TCP ports" (xtcp.ports), or Decode
-- As. Frames are put together again however TCP has cut them.
--
-- Streams over Unix-domain sockets can't be captured; what a program writes of
-- them itself can be read: a pcap file of link type DLT_USER0 (147), each packet
-- one or more whole frames, with the preference DLT_USER:
--
--	-o 'uat:user_dlts:"User 0 (DLT=147)","xtcp","0","","0",""'
--
-- Positions (xtcp.request.*, xtcp.reply.*) count bytes of the client's stream,
-- and of the stream of replies to it: 0 is the first after the handshake. Filter
-- by `xtcp.conn == 0x...` to follow a connection over all of its streams.

local HEADER_BYTES = 32
local PAYLOAD_MAX = 131072
local ADDR_BYTES, HELLO_BYTES = 48, 48
local MAGIC = 0x58544350

local F_REDELIVERED, F_FIRST, F_WAITS, F_FATAL = 1, 2, 4, 8
local F_AT, F_RESUMED, F_SHORT = 16, 32, 64

-- Of each type: its name, the smallest and the largest payload.
local TYPES = {
	[1] = { "HELLO", 48, 304 },
	[2] = { "ATTACH", 24, 24 },
	[3] = { "ATTACHED", 24, 24 },
	[4] = { "ERROR", 0, 1024 },
	[5] = { "CREDIT", 0, 0 },
	[16] = { "OPEN", 48, 48 },
	[17] = { "DATA", 1, PAYLOAD_MAX },
	[18] = { "EOF", 0, 48 },
	[19] = { "RESET", 0, 0 },
	[20] = { "DRAIN", 0, 0 },
	[21] = { "PING", 0, 0 },
	[32] = { "ACCEPT", 0, 0 },
	[33] = { "REJECT", 0, 0 },
	[34] = { "REPLY", 0, PAYLOAD_MAX },
	[35] = { "CLOSE", 0, 0 },
	[36] = { "FIN", 0, 0 },
	[37] = { "ABORT", 0, 0 },
	[38] = { "PONG", 0, 0 },
}
local NAMES = {}
for number, rule in pairs(TYPES) do
	NAMES[number] = rule[1]
end

local xtcp = Proto("xtcp", "XTCP frames")

xtcp.prefs.ports = Pref.range("TCP ports", "",
	"Ports of backends on loopback, as in backend { address = \"tcp:...\" }",
	65535)

-- --- fields

local fields, by_name = {}, {}

local function field(kind, name, title, ...)
	local made = ProtoField[kind]("xtcp." .. name, title, ...)

	by_name[name] = made
	fields[#fields + 1] = made
end

local function flag(parent, name, title, mask, width)
	field("bool", parent .. "." .. name, title, width, nil, mask)
end

field("uint32", "length", "Length of payload")
field("uint8", "type", "Type", base.DEC, NAMES)
field("uint8", "flags", "Flags", base.HEX)
flag("flags", "redelivered", "Redelivered", F_REDELIVERED, 8)
flag("flags", "first", "First", F_FIRST, 8)
flag("flags", "waits", "Waits", F_WAITS, 8)
flag("flags", "fatal", "Fatal", F_FATAL, 8)
flag("flags", "at", "At", F_AT, 8)
flag("flags", "resumed", "Resumed", F_RESUMED, 8)
flag("flags", "short", "Short", F_SHORT, 8)
field("uint16", "group", "Group")
field("uint64", "conn", "Connection", base.HEX)
field("uint8", "conn.worker", "Worker")
field("uint24", "conn.generation", "Generation")
field("uint32", "conn.record", "Record")
field("uint64", "offset", "Offset")
field("uint32", "ackd", "Bytes acknowledged (ackd)")
field("uint32", "aux", "Aux")

-- What these mean by the type.
field("uint64", "request.begin", "Request: position of the first byte")
field("uint64", "request.end", "Request: position after the last byte")
field("uint64", "request.acked", "Request: acknowledged up to")
field("uint64", "reply.begin", "Reply: position of the first byte, low 32 bits")
field("uint64", "reply.end", "Reply: position of the end, low 32 bits")
field("uint64", "reply.next", "Reply: position of the next byte")
field("uint64", "reply.limit", "Reply: credit up to")
field("uint32", "credit", "Credit granted")
field("uint32", "errno", "Error number")

field("uint32", "hello.magic", "Magic", base.HEX)
field("uint16", "hello.version", "Version")
field("uint16", "hello.flags", "Flags", base.HEX)
flag("hello.flags", "resume", "Resume", 1, 16)
flag("hello.flags", "resumes", "Resumes", 2, 16)
field("uint16", "hello.workers", "Workers")
field("uint16", "hello.worker", "Worker")
field("uint32", "hello.max_payload", "Largest payload accepted")
field("uint32", "hello.stream_credit", "Credit of the stream")
field("uint32", "hello.conn_window", "Window of a connection")
field("uint64", "hello.instance", "Instance", base.HEX)
field("uint32", "hello.pid", "Process id")
field("uint64", "hello.epoch", "Epoch", base.HEX)
field("string", "hello.name", "Name")

field("uint16", "attach.port", "Port")
field("uint8", "attach.family", "Family")
field("uint8", "attach.flags", "Flags", base.HEX)
flag("attach.flags", "application", "Application accepts", 1, 8)
flag("attach.flags", "own_pool", "Own pool", 2, 8)
flag("attach.flags", "announce", "Announce", 4, 8)
field("uint32", "attach.priority", "Priority")
field("uint64", "attach.pool_bytes", "Bytes of the pool")

field("uint8", "addr.family", "Family")
field("uint16", "addr.remote_port", "Client's port")
field("uint16", "addr.local_port", "Local port")
field("ipv4", "addr.remote", "Client")
field("ipv4", "addr.local", "Local address")
field("ipv6", "addr.remote6", "Client")
field("ipv6", "addr.local6", "Local address")
field("uint64", "addr.send_offset", "Replies acknowledged by the client")

field("string", "error.text", "Text")
field("bytes", "data", "Data")

xtcp.fields = fields

local function problem(name, text)
	return ProtoExpert.new("xtcp." .. name, text, expert.group.MALFORMED,
		expert.severity.ERROR)
end

local bad_type = problem("bad_type", "Frames have no such type")
local bad_length = problem("bad_length", "A length that this type can't have")
local bad_hello = problem("bad_hello", "A HELLO of another protocol or version")
local bad_addr = problem("bad_addr", "No address where one must be")
local truncated = problem("truncated", "The rest of the frame is not there")

xtcp.experts = { bad_type, bad_length, bad_hello, bad_addr, truncated }

-- --- parts of a frame

local function has(flags, bit)
	return math.floor(flags / bit) % 2 == 1
end

-- Adds the fields of a list {name, bytes, ...} one after the other.
local function add_row(tree, tvb, at, row)
	for i = 1, #row, 2 do
		tree:add(by_name[row[i]], tvb(at, row[i + 1]))
		at = at + row[i + 1]
	end
	return at
end

local function add_flags(tree, tvb, name, bits)
	local sub = tree:add(by_name[name], tvb)

	for _, bit in ipairs(bits) do
		sub:add(by_name[name .. "." .. bit], tvb)
	end
end

-- Something that is not in the bytes as such, but follows from them.
local function add_derived(tree, name, value)
	tree:add(by_name[name], value):set_generated()
end

local function add_header(tree, tvb)
	local at = add_row(tree, tvb, 0, { "length", 4, "type", 1 })
	local conn

	add_flags(tree, tvb(at, 1), "flags", { "redelivered", "first", "waits",
		"fatal", "at", "resumed", "short" })
	tree:add(by_name["group"], tvb(6, 2))
	conn = tree:add(by_name["conn"], tvb(8, 8))
	add_row(conn, tvb, 8, { "conn.worker", 1, "conn.generation", 3,
		"conn.record", 4 })
	add_row(tree, tvb, 16, { "offset", 8, "ackd", 4, "aux", 4 })
end

local function add_hello(tree, tvb)
	local sub = tree:add(xtcp, tvb, "HELLO")

	add_row(sub, tvb, 0, { "hello.magic", 4, "hello.version", 2 })
	add_flags(sub, tvb(6, 2), "hello.flags", { "resume", "resumes" })
	add_row(sub, tvb, 8, { "hello.workers", 2, "hello.worker", 2,
		"hello.max_payload", 4, "hello.stream_credit", 4,
		"hello.conn_window", 4, "hello.instance", 8, "hello.pid", 4 })
	sub:add(by_name["hello.epoch"], tvb(40, 8))
	if tvb:len() > HELLO_BYTES then
		sub:add(by_name["hello.name"], tvb(HELLO_BYTES))
	end
	if tvb(0, 4):uint() ~= MAGIC or tvb(4, 2):uint() ~= 1 then
		sub:add_proto_expert_info(bad_hello)
	end
end

local function add_attach(tree, tvb)
	local sub = tree:add(xtcp, tvb, "Group")

	add_row(sub, tvb, 0, { "attach.port", 2, "attach.family", 1 })
	add_flags(sub, tvb(3, 1), "attach.flags", { "application", "own_pool",
		"announce" })
	add_row(sub, tvb, 4, { "attach.priority", 4, "attach.pool_bytes", 8 })
end

-- The addresses in front of a payload. Returns what is behind them, or nil.
local function add_addr(tree, tvb, aux)
	local family = tvb and tvb(0, 1):uint()
	local sub, hosts

	if not tvb or tvb:len() < ADDR_BYTES or (family ~= 4 and family ~= 6) then
		tree:add_proto_expert_info(bad_addr)
		return nil
	end
	sub = tree:add(xtcp, tvb(0, ADDR_BYTES), "Addresses")
	sub:add(by_name["addr.family"], tvb(0, 1))
	add_row(sub, tvb, 2, { "addr.remote_port", 2, "addr.local_port", 2 })
	if family == 4 then
		hosts = { "addr.remote", "addr.local", 4 }
	else
		hosts = { "addr.remote6", "addr.local6", 16 }
	end
	sub:add(by_name[hosts[1]], tvb(8, hosts[3]))
	sub:add(by_name[hosts[2]], tvb(24, hosts[3]))
	sub:add(by_name["addr.send_offset"], tvb(40, 8))
	add_derived(sub, "reply.next", tvb(40, 8):uint64() + aux)
	return tvb:len() > ADDR_BYTES and tvb(ADDR_BYTES) or nil
end

local function add_data(tree, tvb)
	if tvb then
		tree:add(by_name["data"], tvb)
	end
	return tvb and tvb:len() or 0
end

-- --- what the fields mean, by type: (tree, frame) -> text for the column

local function about_conn(f)
	return string.format(" %s", f.conn:tohex():gsub("^0+", ""))
end

local show = {}

function show.HELLO(tree, f)
	add_hello(tree, f.payload)
	return ""
end

function show.ATTACH(tree, f)
	add_attach(tree, f.payload)
	return " port " .. f.payload(0, 2):uint()
end

show.ATTACHED = show.ATTACH

function show.ERROR(tree, f)
	tree:add(by_name["errno"], f.tvb(28, 4))
	if f.payload then
		tree:add(by_name["error.text"], f.payload)
	end
	return " " .. f.aux
end

function show.CREDIT(tree, f)
	if f.conn == UInt64(0) then
		tree:add(by_name["credit"], f.tvb(28, 4))
		return " " .. f.aux
	end
	tree:add(by_name["reply.limit"], f.tvb(16, 8))
	return about_conn(f)
end

function show.OPEN(tree, f)
	tree:add(by_name["request.begin"], f.tvb(16, 8))
	add_addr(tree, f.payload, f.aux)
	return about_conn(f) .. (has(f.flags, F_WAITS) and " waits" or "")
end

function show.DATA(tree, f)
	local rest, n = f.payload, 0

	if has(f.flags, F_FIRST) then
		rest = add_addr(tree, rest, f.aux)
	end
	n = add_data(tree, rest)
	tree:add(by_name["request.begin"], f.tvb(16, 8))
	add_derived(tree, "request.end", f.offset + n)
	return string.format("%s [%s+%d]%s", about_conn(f), f.offset, n,
		has(f.flags, F_REDELIVERED) and " again" or "")
end

function show.EOF(tree, f)
	if has(f.flags, F_FIRST) then
		add_addr(tree, f.payload, f.aux)
	end
	tree:add(by_name["request.end"], f.tvb(16, 8))
	return string.format("%s [%s]", about_conn(f), f.offset)
end

function show.RESET(tree, f)
	tree:add(by_name["errno"], f.tvb(28, 4))
	return about_conn(f) .. " errno " .. f.aux
end

function show.REPLY(tree, f)
	local n = add_data(tree, f.payload)

	add_derived(tree, "request.acked", f.offset + f.ackd)
	if not has(f.flags, F_AT) then
		return string.format("%s +%d ack %s", about_conn(f), n,
			f.offset + f.ackd)
	end
	tree:add(by_name["reply.begin"], f.tvb(28, 4), UInt64(f.aux))
	add_derived(tree, "reply.end", UInt64((f.aux + n) % 2 ^ 32))
	return string.format("%s [%d+%d] ack %s", about_conn(f), f.aux, n,
		f.offset + f.ackd)
end

function show.CLOSE(tree, f)
	if has(f.flags, F_AT) then
		tree:add(by_name["reply.end"], f.tvb(28, 4), UInt64(f.aux))
	end
	return about_conn(f)
end

show.FIN, show.ABORT, show.REJECT = show.CLOSE, show.CLOSE, show.CLOSE

function show.ACCEPT(_, f)
	return about_conn(f)
end

function show.PING(_, f)
	return " " .. tostring(f.offset)
end

show.PONG = show.PING

-- --- frames

-- Whether the header at the front can be that of a frame: nil, or the problem.
local function header_problem(tvb)
	local rule = TYPES[tvb(4, 1):uint()]
	local length = tvb(0, 4):uint()

	if not rule then
		return bad_type
	end
	if length < rule[2] or length > rule[3] then
		return bad_length
	end
	return nil
end

-- Bytes of the frame at that place. Behind a bad header there is no way to the
-- next one: all that is there belongs to it.
local function frame_bytes(tvb, _, at)
	if header_problem(tvb(at, HEADER_BYTES)) then
		return tvb:len() - at
	end
	return HEADER_BYTES + tvb(at, 4):uint()
end

local function append_info(pinfo, text)
	pinfo.cols.protocol = "XTCP"
	pinfo.cols.info:append(text .. "  ")
end

local function dissect_frame(tvb, pinfo, tree)
	local number = tvb(4, 1):uint()
	local name = NAMES[number] or ("type " .. number)
	local top = tree:add(xtcp, tvb(), "XTCP frame, " .. name)
	local wrong = header_problem(tvb)
	local f = {
		tvb = tvb,
		flags = tvb(5, 1):uint(),
		conn = tvb(8, 8):uint64(),
		offset = tvb(16, 8):uint64(),
		ackd = tvb(24, 4):uint(),
		aux = tvb(28, 4):uint(),
		payload = tvb:len() > HEADER_BYTES and tvb(HEADER_BYTES) or nil,
	}
	local text = ""

	add_header(top, tvb)
	if wrong then
		top:add_proto_expert_info(wrong)
		append_info(pinfo, name .. " (bad)")
		return tvb:len()
	end
	if show[name] then
		text = show[name](top, f)
	end
	top:append_text(text)
	append_info(pinfo, name .. text)
	return tvb:len()
end

-- Packets that are no TCP segments: whole frames, one after the other.
local function dissect_packet(tvb, pinfo, tree)
	local at = 0

	while at < tvb:len() do
		local left = tvb:len() - at
		local n = left >= HEADER_BYTES and frame_bytes(tvb, pinfo, at)

		if not n or n > left then
			tree:add(xtcp, tvb(at), "XTCP frame, part of one")
				:add_proto_expert_info(truncated)
			append_info(pinfo, "part of a frame")
			return tvb:len()
		end
		dissect_frame(tvb(at, n):tvb(), pinfo, tree)
		at = at + n
	end
	return at
end

function xtcp.dissector(tvb, pinfo, tree)
	pinfo.cols.info = ""
	if pinfo.can_desegment > 0 then
		dissect_tcp_pdus(tvb, tree, HEADER_BYTES, frame_bytes,
			dissect_frame, true)
		return tvb:len()
	end
	return dissect_packet(tvb, pinfo, tree)
end

-- --- where it is used

local tcp_ports = DissectorTable.get("tcp.port")
local used = ""

function xtcp.prefs_changed()
	if used ~= xtcp.prefs.ports then
		if used ~= "" then
			tcp_ports:remove(used, xtcp)
		end
		used = xtcp.prefs.ports
		if used ~= "" then
			tcp_ports:add(used, xtcp)
		end
	end
end

tcp_ports:add_for_decode_as(xtcp)
