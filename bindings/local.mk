# SPDX-License-Identifier: BSD-2-Clause

# The frame protocol in other languages. They have packages of their own: here
# they are only part of the tarball. tests/net/test_bindings*.py test them.
EXTRA_DIST += \
	bindings/node/README.md \
	bindings/node/examples/chat.js \
	bindings/node/index.d.ts \
	bindings/node/index.js \
	bindings/node/lib/backend.js \
	bindings/node/lib/conn.js \
	bindings/node/lib/core.js \
	bindings/node/lib/frames.js \
	bindings/node/lib/link.js \
	bindings/node/package.json \
	bindings/node/test/backend.test.js \
	bindings/node/test/fake.js \
	bindings/node/test/link.test.js \
	bindings/node/test/resume.test.js \
	bindings/node/test/types.ts \
	bindings/node/test/vectors.test.js \
	bindings/python/README.md \
	bindings/python/examples/chat.py \
	bindings/python/pyproject.toml \
	bindings/python/src/xtcp/__init__.py \
	bindings/python/src/xtcp/backend.py \
	bindings/python/src/xtcp/conn.py \
	bindings/python/src/xtcp/core.py \
	bindings/python/src/xtcp/frames.py \
	bindings/python/src/xtcp/link.py \
	bindings/python/src/xtcp/py.typed \
	bindings/python/tests/fake.py \
	bindings/python/tests/test_backend.py \
	bindings/python/tests/test_link.py \
	bindings/python/tests/test_resume.py \
	bindings/python/tests/test_vectors.py
