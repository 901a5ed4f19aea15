/* A stand-in for the server, for work on the page only: `npm run dev`, then http://127.0.0.1:8099/#setup=dev.
 *
 * It keeps everything in memory and its "model" is plainly fake: it says what it was asked, word by word. It follows docs/api.md closely
 * enough for the page and its browser test. With MOCK_LOG=FILE it writes, as the tests' recording upstream does, one JSON line for each prompt.
 * Never part of the product: nothing here is built or embedded. */
import { randomBytes } from 'node:crypto';
import { appendFileSync, existsSync, readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { dirname, extname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';

const dist = join(dirname(fileURLToPath(import.meta.url)), '../dist');
const port = Number(process.env.MOCK_PORT ?? 8099);
const delay = Number(process.env.MOCK_DELAY_MS ?? 25);
const setupToken = 'dev';

const CSP =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; font-src 'self'; " +
  "base-uri 'none'; form-action 'self'; frame-ancestors 'none'";
const TYPES = { '.html': 'text/html; charset=utf-8', '.js': 'text/javascript', '.css': 'text/css', '.svg': 'image/svg+xml' };

let counter = 0;
const now = () => new Date().toISOString();
function id() {
  const time = Date.now().toString(16).padStart(12, '0');
  const rest = (++counter).toString(16).padStart(3, '0') + randomBytes(8).toString('hex');
  return `${time.slice(0, 8)}-${time.slice(8)}-7${rest.slice(0, 3)}-8${rest.slice(3, 6)}-${rest.slice(6, 18)}`;
}

const db = { users: [], sessions: new Map(), roles: [], conversations: [], messages: [], keys: [], documents: [], versions: new Map() };

function role(name, description, system_prompt, starter_questions) {
  const made = {
    role_id: id(), name, slug: name.toLowerCase().replace(/\s+/g, '-'), description, system_prompt, version: 1, model: null, temperature: null,
    top_p: null, max_tokens: null, stop: [], starter_questions, created_at: now(), updated_at: now(), retired_at: null,
  };
  db.roles.push(made);
  db.versions.set(made.role_id, [{ ...made }]);
}
role('General Assistant', 'Questions of every kind, explained plainly.', 'You are a helpful assistant.', ['Explain how tides work', 'Help me plan a calm week', 'Summarise a text that I paste', 'Write a short toast for a friend’s birthday']);
role('Travel Assistant', 'Trips, routes and places worth the way.', 'You are a travel assistant.', ['Three days in Lisbon with children', 'What should I pack for Norway in May?']);
role('Medical Advisor', 'Health in plain words, and when to see a doctor.', 'You are a medical advisor.', ['What helps against a tension headache?', 'What do my blood values mean?']);
role('Code Helper', 'Reads, writes and mends programs.', 'You help with code.', ['Write a function that reverses a linked list in C', 'Explain what this error means']);

class HttpError extends Error {
  constructor(status, code, message, param = null) {
    super(message);
    Object.assign(this, { status, code, param });
  }
}
const notFound = () => new HttpError(404, 'not_found', 'there is no such thing');
const find = (list, key, value, user) => {
  const found = list.find((x) => x[key] === value && (!user || x.user_id === user.user_id));
  if (!found) throw notFound();
  return found;
};
const publicUser = ({ password: _password, ...user }) => user;
const publicDocument = ({ content: _content, ...doc }) => doc;
const publicMessage = ({ events: _e, waiting: _w, stop: _s, ...m }) => m;

function page(items, query) {
  const limit = Number(query.get('limit') ?? 50);
  const from = Number(query.get('after') ?? 0);
  const next = from + limit < items.length ? String(from + limit) : null;
  return { data: items.slice(from, from + limit), next };
}

function makeUser({ username, email, password }, is_admin) {
  if (!username || !email || !password) throw new HttpError(400, 'invalid_value', 'username, email and password are needed');
  if (password.length < 8) throw new HttpError(400, 'invalid_value', 'the password needs at least 8 characters', 'password');
  if (db.users.some((u) => u.username === username)) throw new HttpError(409, 'conflict', 'this user name is taken; choose another', 'username');
  const user = { user_id: id(), username, email, password, created_at: now(), last_login_at: now(), preferences: {}, is_admin, disabled: false };
  db.users.push(user);
  return user;
}

function openSession(res, user) {
  const token = randomBytes(16).toString('hex');
  db.sessions.set(token, user);
  res.setHeader('set-cookie', `parley_session=${token}; HttpOnly; SameSite=Strict; Path=/`);
  return publicUser(user);
}

/* ---- the fake model ---- */
const SHOW = `Here is what *this page* can show; the model is **not real**.

## A list
1. First, with \`inline code\`
2. Second, with [a link](https://example.org) and an image: ![a harbour](https://example.org/harbour.png)

| city | days | cost |
|:-----|:----:|-----:|
| Lisbon | 3 | 240 |
| Bergen | 4 | 520 |

\`\`\`c
/* Reverses a list in place. */
struct node *reverse(struct node *head) {
    struct node *done = NULL;
    while (head) {
        struct node *next = head->next;
        head->next = done;
        done = head;
        head = next;
    }
    return done;
}
\`\`\`

> Raw <b onclick="alert(1)">HTML</b> stays text: <img src=x onerror=alert(1)>`;

/* Understands the orders of tests/e2e/mock_upstream.py: [say: text], [words: N], [hold]. */
function reply(question, turns) {
  const said = /\[say: ([^\]]*)\]/s.exec(question)?.[1];
  if (said) return said;
  const words = /\[words: (\d+)\]/.exec(question)?.[1];
  if (words) return Array.from({ length: Number(words) }, (_, i) => `word${i}`).join(' ');
  if (/show|list|code/i.test(question)) return SHOW;
  if (/fail/i.test(question)) return null;
  return `You asked: “${question}” This is turn ${turns} of a fake echo, there is no model behind it. It writes a few sentences, so that one sees how words arrive. Nothing in it was thought.`;
}

function emit(m, event, data) {
  m.events.push({ id: m.events.length + 1, event, data });
  for (const wake of m.waiting.splice(0)) wake();
}

function pathOf(message) {
  const path = [];
  for (let at = message; at; at = db.messages.find((m) => m.message_id === at.parent_id)) path.unshift(at);
  return path;
}

async function write(conversation, question, m, userMessage) {
  const started = Date.now();
  const system = db.roles.find((r) => r.role_id === conversation.assistant_role_id)?.system_prompt ?? '';
  const prompt = [{ role: 'system', content: system }, ...pathOf(question).map((p) => ({ role: p.sender, content: p.content }))];
  if (process.env.MOCK_LOG) appendFileSync(process.env.MOCK_LOG, JSON.stringify({ path: '/v1/chat/completions', body: { messages: prompt } }) + '\n');
  emit(m, 'created', { user_message: userMessage && publicMessage(userMessage), message: publicMessage(m) });
  await new Promise((r) => setTimeout(r, delay * 8));
  const text = reply(question.content, Math.ceil(prompt.length / 2));
  for (const word of (text ?? 'It began well ').match(/\S+\s*/g)) {
    if (m.stop) break;
    m.ttft_ms ??= Date.now() - started;
    m.content += word;
    emit(m, 'token', { text: word });
    while (question.content.includes('[hold]') && !m.stop) await new Promise((r) => setTimeout(r, delay));
    await new Promise((r) => setTimeout(r, delay));
  }
  if (!conversation.title) {
    conversation.title = question.content.slice(0, 48);
    emit(m, 'title', { title: conversation.title });
  }
  m.response_latency_ms = Date.now() - started;
  m.usage = { prompt_tokens: 40, completion_tokens: m.content.split(' ').length };
  m.status = text === null ? 'failed' : m.stop ? 'stopped' : 'complete';
  m.finish_reason = 'stop';
  if (text === null) {
    m.error = 'the model server failed';
    emit(m, 'error', { error: { message: m.error, code: 'upstream_error' }, message: publicMessage(m) });
  } else emit(m, 'done', { message: publicMessage(m) });
}

function newMessage(conversation, parent_id, sender, content) {
  const m = {
    message_id: id(), conversation_id: conversation.conversation_id, parent_id, sender, content, timestamp: now(), response_latency_ms: null, retrieved_docs: [],
    status: sender === 'user' ? 'complete' : 'streaming', ttft_ms: null, assistant_role_id: sender === 'user' ? null : conversation.assistant_role_id,
    role_version: 1, model: sender === 'user' ? null : 'fake-echo', finish_reason: null, error: null, usage: null, feedback: null,
    events: [], waiting: [], stop: false,
  };
  db.messages.push(m);
  conversation.current_message_id = m.message_id;
  conversation.last_updated_at = now();
  return m;
}

async function stream(req, res, m, after) {
  res.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' });
  let open = true;
  req.on('close', () => (open = false));
  res.on('close', () => (open = false));
  for (let at = after; open; ) {
    if (at < m.events.length) {
      const e = m.events[at++];
      res.write(`id: ${e.id}\nevent: ${e.event}\ndata: ${JSON.stringify(e.data)}\n\n`);
      if (e.event === 'done' || e.event === 'error') break;
    } else await new Promise((wake) => m.waiting.push(wake));
  }
  res.end();
}

/* ---- routes ---- */
const conversationOf = (c, user) => find(db.conversations, 'conversation_id', c, user);
function messageOf(messageId, user) {
  const m = find(db.messages, 'message_id', messageId);
  conversationOf(m.conversation_id, user);
  return m;
}

const routes = [
  ['GET', /^\/status$/, () => ({ version: '0.0-mock', setup_required: db.users.length === 0, signup: 'open', ready: true, model: 'fake-echo', notice: process.env.MOCK_NOTICE ?? null }), 'public'],
  ['POST', /^\/setup$/, ({ body, res }) => {
    if (body.token !== setupToken || db.users.length > 0) throw new HttpError(403, 'forbidden', 'this link was used already or is not the right one');
    res.statusCode = 201;
    return openSession(res, makeUser(body, true));
  }, 'public'],
  ['POST', /^\/users$/, ({ body, res, user }) => {
    res.statusCode = 201;
    const made = makeUser(body, user?.is_admin ? body.is_admin === true : false);
    return user ? publicUser(made) : openSession(res, made);
  }, 'public'],
  ['POST', /^\/sessions$/, ({ body, res }) => {
    const user = db.users.find((u) => (u.username === body.username || u.email === body.username) && u.password === body.password && !u.disabled);
    if (!user) throw new HttpError(401, 'invalid_credentials', 'the name or the password is wrong');
    user.last_login_at = now();
    res.statusCode = 201;
    return openSession(res, user);
  }, 'public'],
  ['DELETE', /^\/sessions\/current$/, ({ token }) => void db.sessions.delete(token)],
  ['GET', /^\/users\/me$/, ({ user }) => publicUser(user)],
  ['PATCH', /^\/users\/me$/, ({ user, body }) => {
    if (body.password && body.current_password !== user.password) throw new HttpError(400, 'invalid_value', 'the current password is wrong', 'current_password');
    const { current_password: _c, ...fields } = body;
    return publicUser(Object.assign(user, fields));
  }],
  ['GET', /^\/users$/, ({ query }) => page(db.users.map(publicUser), query)],
  ['PATCH', /^\/users\/([\w-]+)$/, ({ args, body }) => publicUser(Object.assign(find(db.users, 'user_id', args[0]), body))],
  ['DELETE', /^\/users\/([\w-]+)$/, ({ args }) => void (db.users = db.users.filter((u) => u.user_id !== args[0]))],
  ['GET', /^\/keys$/, ({ user, query }) => page(db.keys.filter((k) => k.user_id === user.user_id), query)],
  ['POST', /^\/keys$/, ({ user, body }) => {
    const key = 'parley_' + randomBytes(20).toString('hex');
    const made = { key_id: id(), user_id: user.user_id, name: body.name, prefix: key.slice(0, 12), created_at: now(), last_used_at: null, revoked_at: null };
    db.keys.push(made);
    return { ...made, key };
  }],
  ['DELETE', /^\/keys\/([\w-]+)$/, ({ args, user }) => void (find(db.keys, 'key_id', args[0], user).revoked_at = now())],
  ['GET', /^\/roles$/, ({ query }) => page(db.roles.filter((r) => query.get('retired') || !r.retired_at), query)],
  ['POST', /^\/roles$/, ({ body }) => {
    role(body.name, body.description ?? '', body.system_prompt, body.starter_questions ?? []);
    return db.roles.at(-1);
  }],
  ['GET', /^\/roles\/([\w-]+)$/, ({ args }) => find(db.roles, 'role_id', args[0])],
  ['PATCH', /^\/roles\/([\w-]+)$/, ({ args, body }) => {
    const r = find(db.roles, 'role_id', args[0]);
    if ('retired' in body) r.retired_at = body.retired ? now() : null;
    else {
      Object.assign(r, body, { version: r.version + 1, updated_at: now() });
      db.versions.get(r.role_id).unshift({ ...r });
    }
    return r;
  }],
  ['GET', /^\/roles\/([\w-]+)\/versions$/, ({ args, query }) => page(db.versions.get(args[0]) ?? [], query)],
  ['GET', /^\/conversations$/, ({ user, query }) => {
    const words = (query.get('q') ?? '').toLowerCase().split(/\s+/).filter(Boolean);
    const status = query.get('status') ?? 'active';
    const found = [];
    for (const c of [...db.conversations].reverse().sort((a, b) => (a.last_updated_at < b.last_updated_at ? 1 : -1))) {
      if (c.user_id !== user.user_id || (status !== 'any' && c.status !== status)) continue;
      if (words.length === 0) found.push(c);
      else if (words.every((w) => c.title.toLowerCase().includes(w))) found.push({ ...c, snippet: '', snippet_message_id: null });
      else {
        const m = db.messages.find((x) => x.conversation_id === c.conversation_id && words.every((w) => x.content.toLowerCase().includes(w)));
        if (m) {
          const at = Math.max(0, m.content.toLowerCase().indexOf(words[0]) - 30);
          found.push({ ...c, snippet: m.content.slice(at, at + 120).replaceAll(new RegExp(words[0].replace(/[^\p{L}\p{N}]/gu, '.'), 'giu'), '\u0002$&\u0003'), snippet_message_id: m.message_id });
        }
      }
    }
    return page(found, query);
  }],
  ['POST', /^\/conversations$/, ({ user, body, res }) => {
    const made = {
      conversation_id: id(), user_id: user.user_id, created_at: now(), last_updated_at: now(), assistant_role_id: body.assistant_role_id ?? db.roles[0].role_id,
      status: 'active', title: body.title ?? '', current_message_id: null, summary: '',
    };
    db.conversations.push(made);
    res.statusCode = 201;
    return made;
  }],
  ['GET', /^\/conversations\/([\w-]+)$/, ({ args, user }) => conversationOf(args[0], user)],
  ['PATCH', /^\/conversations\/([\w-]+)$/, ({ args, user, body }) => Object.assign(conversationOf(args[0], user), body)],
  ['DELETE', /^\/conversations\/([\w-]+)$/, ({ args, user }) => {
    const gone = conversationOf(args[0], user);
    db.conversations = db.conversations.filter((c) => c !== gone);
  }],
  ['GET', /^\/conversations\/([\w-]+)\/messages$/, ({ args, user }) => {
    const c = conversationOf(args[0], user);
    return { data: db.messages.filter((m) => m.conversation_id === c.conversation_id).map(publicMessage), current_message_id: c.current_message_id };
  }],
  ['POST', /^\/conversations\/([\w-]+)\/messages$/, ({ args, user, body, req, res }) => {
    const c = conversationOf(args[0], user);
    const question = newMessage(c, body.parent_id === undefined ? c.current_message_id : body.parent_id, 'user', body.content);
    const answer = newMessage(c, question.message_id, 'assistant', '');
    void write(c, question, answer, question);
    return stream(req, res, answer, 0).then(() => null);
  }],
  ['POST', /^\/messages\/([\w-]+)\/regenerate$/, ({ args, user, req, res }) => {
    const old = messageOf(args[0], user);
    const c = conversationOf(old.conversation_id, user);
    const answer = newMessage(c, old.parent_id, 'assistant', '');
    void write(c, find(db.messages, 'message_id', old.parent_id), answer, null);
    return stream(req, res, answer, 0).then(() => null);
  }],
  ['GET', /^\/messages\/([\w-]+)$/, ({ args, user }) => publicMessage(messageOf(args[0], user))],
  ['GET', /^\/messages\/([\w-]+)\/events$/, ({ args, user, req, res, query }) =>
    stream(req, res, messageOf(args[0], user), Number(req.headers['last-event-id'] ?? query.get('after') ?? 0)).then(() => null)],
  ['POST', /^\/messages\/([\w-]+)\/stop$/, ({ args, user }) => {
    const m = messageOf(args[0], user);
    m.stop = true;
    return publicMessage(m);
  }],
  ['PUT', /^\/messages\/([\w-]+)\/feedback$/, ({ args, user, body }) => {
    const m = messageOf(args[0], user);
    const before = m.feedback;
    m.feedback = {
      feedback_id: before?.feedback_id ?? id(), message_id: m.message_id, user_id: user.user_id, rating: body.rating, comment: body.comment ?? '',
      created_at: before?.created_at ?? now(), updated_at: now(),
    };
    return m.feedback;
  }],
  ['DELETE', /^\/messages\/([\w-]+)\/feedback$/, ({ args, user }) => void (messageOf(args[0], user).feedback = null)],
  ['GET', /^\/feedback$/, ({ query }) => {
    const all = db.messages.filter((m) => m.feedback && (!query.get('rating') || m.feedback.rating === query.get('rating')));
    return page(all.map((m) => ({
      ...m.feedback, username: db.users.find((u) => u.user_id === m.feedback.user_id)?.username ?? '', conversation_id: m.conversation_id,
      assistant_role_id: m.assistant_role_id, role_name: db.roles.find((r) => r.role_id === m.assistant_role_id)?.name ?? '', role_version: 1, model: m.model,
      question: db.messages.find((q) => q.message_id === m.parent_id)?.content ?? '', answer: m.content,
    })), query);
  }],
  ['GET', /^\/documents$/, ({ user, query }) => page(db.documents.filter((d) => d.shared || d.user_id === user.user_id).map(publicDocument), query)],
  ['POST', /^\/documents$/, ({ user, body, query }) => {
    const given = query.get('source_name') ? { source_name: query.get('source_name'), content: typeof body === 'string' ? body : JSON.stringify(body) } : body;
    const made = {
      doc_id: id(), user_id: user.user_id, shared: false, metadata: {}, collection_id: user.user_id, status: 'indexed', error: null, updating: false, title: null,
      media_type: 'text/plain', uri: null, updated_at: now(), chunk_count: 1, safety: null, ...given, content_bytes: Buffer.byteLength(given.content), created_at: now(), indexed_at: now(),
    };
    db.documents.push(made);
    return made;
  }],
  ['GET', /^\/documents\/([\w-]+)$/, ({ args }) => find(db.documents, 'doc_id', args[0])],
  ['GET', /^\/sources$/, ({ query }) => page([], query)],
  ['DELETE', /^\/documents\/([\w-]+)$/, ({ args }) => void (db.documents = db.documents.filter((d) => d.doc_id !== args[0]))],
];

async function api(req, res, url) {
  const chunks = [];
  for await (const chunk of req) chunks.push(chunk);
  const text = Buffer.concat(chunks).toString();
  const isFile = url.searchParams.has('source_name');
  const body = isFile ? text : text ? JSON.parse(text) : {};
  const token = /parley_session=(\w+)/.exec(req.headers.cookie ?? '')?.[1];
  const user = db.sessions.get(token);
  const path = url.pathname.slice('/api/v1'.length);
  for (const [method, pattern, run, access] of routes) {
    const match = pattern.exec(path);
    if (!match || method !== req.method) continue;
    if (access !== 'public' && !user) throw new HttpError(401, 'unauthorized', 'sign in, or send an API key');
    const answer = await run({ args: match.slice(1), body, query: url.searchParams, user, token, req, res });
    if (res.writableEnded) return;
    if (answer === undefined) res.writeHead(204).end();
    else res.setHeader('content-type', 'application/json').end(JSON.stringify(answer));
    return;
  }
  throw notFound();
}

function file(res, url) {
  let path = join(dist, normalize(url.pathname));
  if (!path.startsWith(dist) || !existsSync(path) || !extname(path)) path = join(dist, 'index.html');
  res.setHeader('content-security-policy', CSP).setHeader('content-type', TYPES[extname(path)] ?? 'text/plain').end(readFileSync(path));
}

const server = createServer((req, res) => {
  const url = new URL(req.url, 'http://localhost');
  if (!url.pathname.startsWith('/api/')) return file(res, url);
  api(req, res, url).catch((e) => {
    if (!(e instanceof HttpError)) console.error(e);
    res.writeHead(e.status ?? 500, { 'content-type': 'application/json' });
    res.end(JSON.stringify({ error: { message: e.message, type: 'invalid_request_error', param: e.param ?? null, code: e.code ?? 'internal_error' } }));
  });
});
server.listen(port, '127.0.0.1', () => console.log(`mock: http://127.0.0.1:${server.address().port}/#setup=${setupToken}`));
