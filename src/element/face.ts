import { applyStyle } from './style'

/** What a person gets of a job, to see or to hear. */
export interface View {
  /** Percent; without it the bar only says that there is something to wait for. */
  progress?: number | undefined
  /** What the job is doing. */
  label?: string | undefined
  /** How it ended. */
  message?: string | undefined
}

/** The inside of the element. */
export interface Face {
  show(view: View): void
  name(text: string): void
  time(text: string): void
}

/** Draws the face, with neither HTML nor inline styles in it: a job's words are text, whatever they hold. */
export function drawFace(root: ShadowRoot): Face {
  applyStyle(root)
  // What a screen reader announces is in the page before there is something to say: else it would miss the first words.
  const speech = draw(root, { 'aria-live': 'polite' })
  const label = draw(speech, { part: 'label' })
  const message = draw(speech, { part: 'message' })
  const percent = draw(root, { part: 'percent', 'aria-hidden': 'true' })
  const time = draw(root, { part: 'time' })
  const bar = draw(root, { part: 'bar', role: 'progressbar', 'aria-valuemin': '0', 'aria-valuemax': '100' })
  const fill = draw(bar, { part: 'fill' })
  return {
    show(view) {
      const value = view.progress === undefined ? '' : `${view.progress} %`
      write(label, view.label)
      write(message, view.message)
      write(percent, value)
      fill.style.width = value.replace(' ', '')
      // Without a number a bar is indeterminate, and not at 0.
      if (value) bar.setAttribute('aria-valuenow', String(view.progress))
      else bar.removeAttribute('aria-valuenow')
      bar.setAttribute('aria-valuetext', value || view.message || view.label || '')
    },
    name: (text) => bar.setAttribute('aria-label', text),
    time: (text) => write(time, text),
  }
}

function draw(parent: Node, attributes: Record<string, string>): HTMLElement {
  const element = document.createElement('div')
  for (const name in attributes) element.setAttribute(name, attributes[name] as string)
  return parent.appendChild(element)
}

/** Leaves text alone that is there already: to write it again would have it announced again. */
function write(element: HTMLElement, text = ''): void {
  if (element.textContent !== text) element.textContent = text
}
