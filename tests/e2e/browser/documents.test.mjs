/* Documents on the page, told in order: brought in, answered from with numbered passages, shown in their place, checked sentence by
 * sentence, kept to whom they are for, and deleted. A scripted model answers (tests/e2e/mock_upstream.py).
 *
 *   PARLEY_URL, PARLEY_SETUP_TOKEN, PARLEY_ARTIFACTS  as for page.test.mjs */
import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { after, before, test } from 'node:test';
import { keepPicture, openBrowser } from './driver.mjs';

const base = process.env.PARLEY_URL;
const token = process.env.PARLEY_SETUP_TOKEN;
assert.ok(base && token, 'PARLEY_URL and PARLEY_SETUP_TOKEN are needed');

const FERRY =
  '# Ferries\n\nThe last ferry to Vestra leaves at ten in the evening.\n\n## Sundays\n\nOn Sundays the last ferry to Vestra leaves at six from pier two.\n';
const DOSE = 'The dose of quinine for adults is six hundred milligrams every eight hours.\n';

let browser, page, trespasses, excused, service;
let broken = false;

before(async () => {
  ({ browser, page, trespasses, excused } = await openBrowser(base));
  const found = { results: [{ title: 'Tides', url: 'https://example.org/tides', content: 'High tide in Bergen is at noon.' }] };
  service = createServer((request, response) => {
    const results = request.url.includes('tide') ? found : { results: [] };
    response.setHeader('content-type', 'application/json');
    response.end(JSON.stringify(results));
  });
  await new Promise((resolve) => service.listen(0, '127.0.0.1', resolve));
});
after(async () => {
  await browser?.close();
  service?.closeAllConnections();
  service?.close();
});

function step(name, run) {
  test(name, async (t) => {
    if (broken) return t.skip('an earlier step failed');
    try {
      await run();
      assert.deepEqual(trespasses, []);
    } catch (error) {
      broken = true;
      await keepPicture(page, name);
      throw error;
    }
  });
}

const answers = () => page.locator('.answer:not(.live)');
const sources = () => answers().last().locator('details.sources');
const marked = () => sources().locator('mark');

async function call(method, path, data) {
  const response = await page.request.fetch(path, { method, data });
  assert.ok(response.ok(), `${method} ${path}: ${response.status()} ${await response.text()}`);
  return response.status() === 204 ? null : response.json();
}

async function ask(text) {
  const before = await answers().count();
  const composer = page.getByRole('textbox', { name: 'Message', exact: true });
  await composer.fill(text);
  await composer.press('Enter');
  await answers().nth(before).waitFor();
  await page.locator('.answer.live').waitFor({ state: 'detached' });
}

async function openDocuments() {
  await page.getByRole('button', { name: 'Your account' }).click();
  await page.getByRole('menuitem', { name: 'Settings' }).click();
  const dialog = page.getByRole('dialog', { name: 'Settings' });
  await dialog.getByRole('tab', { name: 'Documents' }).click();
  return dialog;
}

async function close(dialog) {
  await page.keyboard.press('Escape');
  await dialog.waitFor({ state: 'detached' });
}

async function roleId(name) {
  return (await call('GET', '/api/v1/roles')).data.find((role) => role.name === name).role_id;
}

async function newConversation(role) {
  await page.goto('/');
  await page.getByRole('radio', { name: new RegExp(role) }).check();
}

/** All documents are found by searches. */
async function indexed(dialog) {
  await dialog.getByText('Being indexed').first().waitFor({ state: 'detached' });
}

step('files come in for oneself and for a role', async () => {
  await page.goto(`/#setup=${token}`);
  await page.getByLabel('User name').fill('ada');
  await page.getByLabel('E-mail').fill('ada@example.org');
  await page.getByLabel('Password').fill('correct horse battery');
  await page.getByRole('button', { name: 'Create the administrator' }).click();
  await page.getByRole('heading', { name: 'Hello, ada.' }).waitFor();
  const made = await call('POST', '/api/v1/collections', { name: 'Medicine', kind: 'role' });
  await call('PATCH', `/api/v1/roles/${await roleId('Medical Advisor')}/documents`, { grounded_only: true, collections: [made.collection_id] });

  const dialog = await openDocuments();
  const choose = (name, text) => dialog.getByLabel('Choose files').setInputFiles([{ name, mimeType: 'text/markdown', buffer: Buffer.from(text) }]);
  await choose('ferries.md', FERRY);
  await dialog.locator('li', { hasText: 'ferries.md' }).getByText(/passages?/).waitFor();
  await dialog.getByLabel('Files are for').selectOption({ label: 'roles that read “Medicine”' });
  await choose('doses.md', DOSE);
  await dialog.locator('li', { hasText: 'doses.md' }).getByText(/1 passage/).waitFor();
  await indexed(dialog);
  await close(dialog);
  assert.equal((await call('GET', '/api/v1/collections')).data.find((c) => c.name === 'Medicine').documents, 1);
});

step('a file is handed over where one writes, and the answer uses it', async () => {
  await newConversation('General Assistant');
  const files = page.getByRole('list', { name: 'Files', exact: true });
  const own = async () => (await call('GET', '/api/v1/documents')).data.map((d) => d.source_name);
  await page.getByTestId('attach').setInputFiles([
    { name: 'lighthouse.md', mimeType: 'text/markdown', buffer: Buffer.from('The lighthouse of Utsira has been lit since 1844.\n') },
    { name: 'mistaken.txt', mimeType: 'text/plain', buffer: Buffer.from('Not this one.\n') },
    { name: 'photo.png', mimeType: 'image/png', buffer: Buffer.from('\x89PNG\r\n\x1a\n\0\0\0\0', 'latin1') },
  ]);
  await files.locator('li.ready', { hasText: 'lighthouse.md' }).waitFor();
  await files.locator('li.ready', { hasText: 'mistaken.txt' }).waitFor();
  await files.locator('li.failed', { hasText: 'photo.png' }).getByText(/This is a picture/).waitFor();
  for (const name of ['mistaken.txt', 'photo.png']) {
    const gone = page.waitForResponse((r) => r.request().method() === 'DELETE' && r.url().includes('/api/v1/documents/'));
    await files.getByRole('button', { name: `Remove ${name}` }).click();
    assert.equal((await gone).status(), 204);
  }
  await page.evaluate(() => {
    const dataTransfer = new DataTransfer();
    dataTransfer.items.add(new File(['The harbour of Utsira freezes in no winter.\n'], 'dropped.txt', { type: 'text/plain' }));
    document.body.dispatchEvent(new DragEvent('drop', { dataTransfer, bubbles: true, cancelable: true }));
  });
  await files.locator('li.ready', { hasText: 'dropped.txt' }).waitFor();
  await ask('Since when has the lighthouse of Utsira been lit? [say: The lighthouse of Utsira has been lit since 1844 [1].]');
  assert.equal(await files.count(), 0);
  await sources().getByText(/lit since 1844/).first().waitFor({ state: 'attached' });
  const came = page.getByRole('list', { name: 'Files of this message' });
  await came.getByText('lighthouse.md').waitFor(); // with the question, also when it is read from the store
  await page.reload();
  await came.getByText('dropped.txt').waitFor();
  assert.deepEqual((await own()).filter((name) => /lighthouse|mistaken|dropped|photo/.test(name)).sort(), ['dropped.txt', 'lighthouse.md']);
});

step('a question about the file needs none of its words', async () => {
  await newConversation('General Assistant');
  await page.getByTestId('attach').setInputFiles([
    { name: 'minutes.md', mimeType: 'text/markdown', buffer: Buffer.from('The board of Harwick met in May and chose a treasurer.\n') },
  ]);
  await page.getByRole('list', { name: 'Files', exact: true }).locator('li.ready', { hasText: 'minutes.md' }).waitFor();
  await ask('Summarise this.');
  await sources().getByText(/chose a treasurer/).first().waitFor({ state: 'attached' });
});

step('an answer cites its passage, and the document opens there', async () => {
  await newConversation('General Assistant');
  // most words of each question are the passage's: on a slow machine vectors come late, and words alone must find it
  await ask('When does the last ferry to Vestra leave? [say: The last ferry to Vestra leaves at ten in the evening, on Sundays at six from pier two [1]. Bananas are yellow.]');
  assert.match(await sources().locator('summary').textContent(), /^\d sources?$/);
  assert.equal(await sources().getAttribute('open'), null);
  await answers().last().getByRole('button', { name: '[1]', exact: true }).click(); // the citation
  await sources().locator('li[value="1"]').getByText('Ferries').first().waitFor();
  assert.notEqual(await sources().getAttribute('open'), null);
  assert.equal(await page.evaluate(() => document.activeElement?.value), 1);
  await sources().locator('li[value="1"]').getByText('cited').waitFor();
  await sources().locator('li[value="1"]').getByRole('button', { name: 'Show in the document' }).click();
  await marked().waitFor();
  assert.match(await marked().textContent(), /ferry to Vestra/);
});

step('each sentence says whether the passages support it', async () => {
  const checked = sources().getByRole('region', { name: 'Checked sentences' });
  await checked.getByText('1 of 2 sentences are supported').waitFor();
  assert.match(await checked.locator('li.supported').textContent(), /^Supported \[1\] The last ferry to Vestra/);
  assert.match(await checked.locator('li.unsupported').textContent(), /^Unsupported Bananas are yellow/);
});

step('a follow-up finds its passages, and thanks need none', async () => {
  await ask('And on Sundays?');
  await sources().getByText(/at six from pier two/).first().waitFor({ state: 'attached' });
  await ask('Thank you! [say: You are welcome [1].]');
  assert.equal(await sources().count(), 0);
  assert.equal(await answers().last().getByRole('button', { name: '[1]', exact: true }).count(), 0); // there is nothing to show
});

step('what a search service found is an address', async () => {
  const location = `http://127.0.0.1:${service.address().port}/?q={query}`;
  const made = await call('POST', '/api/v1/sources', { kind: 'search', name: 'Web', location, allow_private: true });
  await ask('When is high tide in Bergen? [say: High tide in Bergen is at noon.]');
  const item = sources().locator('li', { hasText: 'High tide in Bergen is at noon.' }).first();
  await sources().locator('summary').click();
  assert.equal(await item.getByRole('link').getAttribute('href'), 'https://example.org/tides');
  assert.equal(await item.getByRole('button', { name: 'Show in the document' }).count(), 0);
  await call('DELETE', `/api/v1/sources/${made.source_id}`);
});

step('a deleted document is gone at once', async () => {
  const dialog = await openDocuments();
  await dialog.locator('li', { hasText: 'ferries.md' }).getByRole('button', { name: 'Delete' }).click();
  await page.getByRole('dialog', { name: 'Delete this document?' }).getByRole('button', { name: 'Delete' }).click();
  await dialog.locator('li', { hasText: 'ferries.md' }).waitFor({ state: 'detached' });
  await close(dialog);
  await newConversation('General Assistant');
  await ask('When does the last ferry to Vestra leave? [say: I do not know.]');
  assert.equal(await sources().count(), 0);
  await page.locator('.conversation').nth(1).getByRole('link').click(); // an answer from before
  const first = page.locator('.answer details.sources').first();
  await first.locator('summary').click();
  excused.missing = '/api/v1/documents/';
  await first.getByRole('button', { name: 'Show in the document' }).first().click();
  await first.getByText('The document is not there any more.').waitFor();
});

step('another person reads what a role reads, and nothing else', async () => {
  await page.getByRole('button', { name: 'Your account' }).click();
  await page.getByRole('menuitem', { name: 'Sign out' }).click();
  await page.getByRole('button', { name: 'Create an account' }).click();
  await page.getByLabel('User name').fill('bob');
  await page.getByLabel('E-mail').fill('bob@example.org');
  await page.getByLabel('Password').fill('another long password');
  await page.getByRole('button', { name: 'Create account' }).click();
  await page.getByText('Your conversations will be listed here.').waitFor();
  await newConversation('General Assistant');
  await ask('What is the dose of quinine for adults? [say: I do not know.]');
  assert.equal(await sources().count(), 0);
  await newConversation('Medical Advisor');
  await ask('What is the dose of quinine for adults? [say: It is six hundred milligrams every eight hours [1].]');
  await sources().locator('summary').click();
  await sources().getByRole('button', { name: 'Show in the document' }).click();
  await marked().waitFor();
  assert.match(await marked().textContent(), /six hundred milligrams/);
  await ask('Who painted the ceiling of the chapel in Rome? [say: Michelangelo did.]');
  await answers().last().getByText(/I found nothing about this in the documents/).waitFor();
});
