// The whole program of the page: it orders imports, and gives each token to a <job-progress>.
const form = document.querySelector('#order')
const select = document.querySelector('#country')
const cards = document.querySelector('#cards')
const template = document.querySelector('#card')
const problem = document.querySelector('#problem')

/** What this tab follows, newest first: `{ token, code, title }`. It outlives a reload, and ends with the tab. */
let imports = JSON.parse(sessionStorage.getItem('imports') ?? '[]')

for (const entry of imports) cards.append(createCard(entry))
showEmptiness()

form.addEventListener('submit', async (event) => {
  event.preventDefault()
  problem.textContent = ''
  try {
    const entry = await order(select.value, select.selectedOptions[0].text)
    keep([entry, ...imports])
    cards.prepend(createCard(entry))
  } catch (error) {
    problem.textContent = `The import could not be started: ${error.message}`
  }
})

/** Starts an import. The answer comes at once; the work goes on behind it. */
async function order(country, title) {
  const body = JSON.stringify(country ? { country } : {})
  const response = await fetch('/imports', { method: 'POST', headers: { 'Content-Type': 'application/json' }, body })
  const answer = await response.json()
  if (!response.ok) throw new Error(answer.detail)
  return { token: answer.token, code: country.length > 2 ? '??' : country || 'ALL', title }
}

function createCard(entry) {
  const card = template.content.cloneNode(true).firstElementChild
  const [progress, cancel, remove] = ['job-progress', '.cancel', '.remove'].map((name) => card.querySelector(name))
  card.querySelector('.code').textContent = entry.code
  card.querySelector('h3').textContent = entry.title
  cancel.setAttribute('aria-label', `Cancel the import of ${entry.title}`)
  remove.setAttribute('aria-label', `Remove the import of ${entry.title}`)
  progress.setAttribute('label', `Import of ${entry.title}`)
  progress.setAttribute('token', entry.token)

  const end = () => {
    // Who has just cancelled with the keyboard is not thrown back to the top of the page.
    const hadFocus = cancel.matches(':focus')
    cancel.hidden = true
    remove.hidden = false
    if (hadFocus) remove.focus()
  }
  progress.addEventListener('job-done', ({ detail }) => {
    end()
    card.querySelector('.result').textContent = describe(detail.result)
  })
  progress.addEventListener('job-error', end)
  cancel.addEventListener('click', () => fetch(`/jobs/cancel/${entry.token}`, { method: 'POST' }))
  remove.addEventListener('click', () => {
    card.remove()
    keep(imports.filter(({ token }) => token !== entry.token))
    select.focus()
  })
  return card
}

function describe({ cities, countries, rejected }) {
  const files = countries === 1 ? '1 file' : `${countries} files`
  return `${cities.toLocaleString('en')} cities in ${files}, ${rejected.toLocaleString('en')} rejected`
}

function keep(entries) {
  imports = entries
  sessionStorage.setItem('imports', JSON.stringify(imports))
  showEmptiness()
}

function showEmptiness() {
  document.querySelector('#empty').hidden = imports.length > 0
}
